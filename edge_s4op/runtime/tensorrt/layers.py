"""From TensorRT's layers back to ours: which nodes of the file a layer came from.

TensorRT fuses and renames. What it keeps are the names of ONNX nodes, in a layer's name ("a + b",
"{ForeignNode[a...b]}") and, when built with detailed profiling, in its metadata ("[ONNX Layer: a]").
A node is named by its path, and the beginning of it ("block0/ssm", "head") is what we call a layer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from edge_s4op.errors import InferenceError
from edge_s4op.runtime.layer_names import layer_of_node
from edge_s4op.runtime.tensorrt import library

__all__ = ["layer_of", "metadata_of", "parse_inspection", "profiled"]

_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)*")
_RANGE = "..."
_PROFILED_RUNS = 20


def layer_of(name: str, metadata: str, nodes: Sequence[str]) -> str:
    """Our name for a TensorRT layer: "block0/ssm", several joined by "+", or `name` if none is ours."""
    ours = _unique(map(layer_of_node, _nodes_in(f"{name} {metadata}", nodes)))
    return "+".join(ours) or name


def metadata_of(engine: Any) -> dict[str, str]:
    """TensorRT's layer name -> its metadata; empty values where the engine has none."""
    trt = library.load()
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return parse_inspection(text)


def parse_inspection(text: str) -> dict[str, str]:
    """What `metadata_of` returns, from the inspector's JSON: {"Layers": [name or {"Name", ...}]}."""
    layers = json.loads(text).get("Layers", [])
    found = [layer if isinstance(layer, dict) else {"Name": layer} for layer in layers]
    return {str(layer.get("Name", "")): str(layer.get("Metadata", "")) for layer in found}


def profiled(
    context: Any, run: Callable[[Any], None], should_stop: Callable[[], bool]
) -> list[list[tuple[str, float]]]:
    """Each run's (TensorRT layer, ms), in the order they ran; a layer within a loop stands there each time.

    Raises InferenceError when `should_stop()` is true between two runs.
    """
    trt = library.load()
    reported: list[tuple[str, float]] = []

    class Profiler(trt.IProfiler):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            reported.append((layer_name, ms))

    run(context)  # allocates and loads; not profiled
    profiler = Profiler()
    context.profiler = profiler
    runs = []
    for _ in range(_PROFILED_RUNS):
        if should_stop():
            raise InferenceError("the profile was cancelled")
        reported.clear()
        run(context)
        runs.append(list(reported))
    return runs


def _nodes_in(text: str, nodes: Sequence[str]) -> list[str]:
    """Known nodes in `text`; of a range "a...b" both ends and every node of the file between them."""
    nodes = [node.lstrip("/") for node in nodes]  # traced models' begin with it, and so may TensorRT's
    index = {node: position for position, node in enumerate(nodes)}
    found: list[str] = []
    for word in text.replace(_RANGE, f" {_RANGE} ").split():
        if word == _RANGE:
            found.append(word)
        found.extend(_known(part, index) for part in _NAME.findall(word) if _known(part, index))
    return _without_ranges(found, nodes, index)


def _known(text: str, index: Mapping[str, int]) -> str:
    """The node of the file that `text` is, or is inlined from; "" if neither."""
    path = text.split("/")
    paths = ("/".join(path[:length]) for length in range(len(path), 0, -1))
    return next((candidate for candidate in paths if candidate in index), "")


def _without_ranges(found: list[str], nodes: Sequence[str], index: Mapping[str, int]) -> list[str]:
    result: list[str] = []
    for position, name in enumerate(found):
        if name != _RANGE:
            result.append(name)
        elif 0 < position < len(found) - 1 and found[position - 1] in index and found[position + 1] in index:
            result.extend(nodes[index[found[position - 1]] + 1 : index[found[position + 1]]])
    return result


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
