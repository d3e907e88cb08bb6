"""Where ONNX Runtime's time goes, by our layers: from the profile a session of its own writes.

What ONNX Runtime makes of a function's body or puts in between (layout changes, fusions) has names of its
own. It runs between nodes that have kept theirs, so it belongs to the SSMConv that stands between those two
in the file, else to the layer of the next one. Nodes within a Scan run during the Scan: they are in its time.
"""

from __future__ import annotations

import bisect
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edge_s4op import op
from edge_s4op.errors import InferenceError
from edge_s4op.messages import Layers
from edge_s4op.runtime.layer_names import OTHER, layer_of_node, layers_message
from edge_s4op.runtime.protocol import Array

__all__ = ["layers_of_profile", "profile_layers"]

_FEWEST, _MOST, _AT_MOST_S = 5, 100, 2.0  # runs; ONNX Runtime keeps a million events
_SUFFIX = "_kernel_time"

Event = Mapping[str, Any]


def profile_layers(
    content: bytes,
    options: Any,
    feeds: Mapping[str, Array],
    open_session: Callable[[bytes, Any], Any],
    should_stop: Callable[[], bool],
) -> Layers:
    """Run the file `content` under ONNX Runtime's profiler: once to warm up, then 5 to 100 times within 2 s.

    `options` are those of an ordinary session. Raises InferenceError, also when `should_stop()` is true.
    """
    with tempfile.TemporaryDirectory(prefix="s4op-profile-") as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_session(content, options)
        _run(session, feeds, should_stop)
        events = json.loads(Path(session.end_profiling()).read_text())
    return layers_of_profile(events, content)


def layers_of_profile(events: Sequence[Event], content: bytes) -> Layers:
    """The table from a profile's events and the file that ran. The first run warmed up and is left out."""
    nodes = [(node.name, _is_ssm(node)) for node in onnx.load_model_from_string(content).graph.node]
    file = _File.of(nodes)
    return layers_message("onnxruntime profile", [file.named(run) for run in _runs(events)][1:])


def _run(session: Any, feeds: Mapping[str, Array], should_stop: Callable[[], bool]) -> None:
    began, runs = time.monotonic(), -1  # the first warms up
    while runs < _FEWEST or (runs < _MOST and time.monotonic() - began < _AT_MOST_S):
        if should_stop():
            raise InferenceError("the profile was cancelled")
        session.run(None, dict(feeds))
        runs += 1


def _runs(events: Sequence[Event]) -> Iterator[list[Event]]:
    """The node events of each run, in order, without those nested in others."""
    nodes = sorted((e for e in events if _is_node(e)), key=lambda e: (e["ts"], -e["dur"]))
    starts = [event["ts"] for event in nodes]
    for run in sorted((e for e in events if e.get("name") == "model_run"), key=lambda e: e["ts"]):
        first = bisect.bisect_left(starts, run["ts"])
        last = bisect.bisect_right(starts, run["ts"] + run["dur"])
        yield list(_outermost(nodes[first:last]))


def _is_node(event: Event) -> bool:
    return event.get("cat") == "Node" and str(event.get("name", "")).endswith(_SUFFIX)


def _outermost(events: Sequence[Event]) -> Iterator[Event]:
    """Events come by start, longest first; those that a loop encloses start before it ends."""
    ends = float("-inf")
    for event in events:
        if event["ts"] >= ends:
            ends = event["ts"] + event["dur"]
            yield event


@dataclass(frozen=True)
class _File:
    """The file's node names in order, where the SSMConvs stand, and the first parts of all names."""

    index: Mapping[str, int]
    ssm: Mapping[int, str]
    roots: frozenset[str]

    @classmethod
    def of(cls, nodes: Sequence[tuple[str, bool]]) -> _File:
        index = {name: position for position, (name, _) in enumerate(nodes)}
        ssm = {position: name for position, (name, is_ssm) in enumerate(nodes) if is_ssm}
        return cls(index, ssm, frozenset(name.split("/")[0] for name, _ in nodes if name))

    def named(self, run: Sequence[Event]) -> list[tuple[str, str, float]]:
        """(layer, operator, ms) of each event."""
        names = [event["name"].removesuffix(_SUFFIX) for event in run]
        at = [self._position(name) for name in names]
        return [
            (self._layer(names, at, i), str(event["args"].get("op_name", "?")), event["dur"] / 1000)
            for i, event in enumerate(run)
        ]

    def _position(self, name: str) -> int | None:
        """Where in the file the node `name` stands, or the one it is made from ("..._nchwc"); or None."""
        if name in self.index:
            return self.index[name]
        if name.split("/")[0] not in self.roots or not name.split("/")[0]:
            return None
        origins = [known for known in self.index if known and name.startswith(known)]
        return self.index[max(origins, key=len)] if origins else None

    def _layer(self, names: Sequence[str], at: Sequence[int | None], i: int) -> str:
        if at[i] is not None:
            return layer_of_node(names[i])
        before = next((p for p in reversed(at[:i]) if p is not None), -1)
        after = next((k for k in range(i + 1, len(at)) if at[k] is not None), None)
        end = len(self.index) if after is None else at[after]
        assert end is not None
        between = [name for position, name in self.ssm.items() if before < position < end]
        if between:
            return layer_of_node(between[0])
        return OTHER if after is None else layer_of_node(names[after])


def _is_ssm(node: onnx.NodeProto) -> bool:
    return (node.domain, node.op_type) == (op.DOMAIN, op.NAME)
