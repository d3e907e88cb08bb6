"""CUDA graphs of one engine: which batch sizes get one, and which of them are kept."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

from edge_s4op.errors import InferenceError
from edge_s4op.runtime.tensorrt.contexts import Contexts, enqueue
from edge_s4op.runtime.tensorrt.cuda import Device, Graph

__all__ = ["GRAPH_LIMIT", "CudaGraphs"]

GRAPH_LIMIT = 16  # all sizes up to 16, or the powers of two that serving warms and some between
_RUNS_BEFORE = 2  # a size that comes once is not worth a capture

_log = logging.getLogger("edge_s4op.tensorrt")


@dataclass(frozen=True)
class _Captured:
    graph: Graph
    context: Any  # the graph is valid as long as this one lives and keeps its shape


class CudaGraphs:
    """At most GRAPH_LIMIT graphs, by batch size: the shapes of all inputs follow from it.

    A size is captured once it has run `_RUNS_BEFORE` times (once, where graphs are required), each time in
    an execution context of its own, since changing a context's shape breaks the graphs captured from it.
    At the limit the least recently used graph goes; its size must then run twice as often as before to get
    one again, so that sizes which push each other out do not spend their time being captured.

    Where a capture fails there is no other: `refusal` says why, and what was captured before stays in use.
    Where graphs are required, it raises.

    Source: TensorRT developer guide, "CUDA Graphs" (one execution context per captured graph, memory shared).
    """

    def __init__(self, device: Device, stream: int, contexts: Contexts, wanted: bool | None) -> None:
        """`wanted` as `RunnerOptions.cuda_graph`. `stream` and `contexts` are the caller's."""
        self._device, self._stream, self._contexts = device, stream, contexts
        self._required = wanted is True
        self.refusal = "off" if wanted is False else None
        self._kept: OrderedDict[int, _Captured] = OrderedDict()  # the last is the one used last
        self._runs: Counter[int] = Counter()  # without a graph, since there was none
        self._needed: dict[int, int] = {}

    def find(self, batch: int) -> Graph | None:
        """The graph of this batch size, which counts as used; None if there is none."""
        captured = self._kept.get(batch)
        if captured is None:
            return None
        self._kept.move_to_end(batch)
        return captured.graph

    def ran_without(self, batch: int, name: str) -> None:
        """Note a run of the engine `name` without a graph; captures one where it is due.

        A capture runs the engine once more on what the input buffers hold. Raises InferenceError only
        where graphs are required.
        """
        if self.refusal is not None:
            return
        self._runs[batch] += 1
        if self._runs[batch] < self._needed.setdefault(batch, 1 if self._required else _RUNS_BEFORE):
            return
        try:
            self._keep(batch)
        except InferenceError as error:  # some layers synchronise; or there is no memory for another graph
            if self._required:
                raise InferenceError(
                    f"no CUDA graph can be made of this engine: {error}", fix="open the model without one"
                ) from error
            self.refusal = f"{error} (at batch {batch}; no other is tried)"
            _log.warning("no CUDA graph for engine %s: %s", name, self.refusal)

    def close(self) -> None:
        """Drop all graphs."""
        while self._kept:
            self._drop_oldest()

    def _keep(self, batch: int) -> None:
        while len(self._kept) >= GRAPH_LIMIT:
            self._needed[self._drop_oldest()] *= 2
        context = self._contexts.make(batch)
        enqueue(context, self._stream)  # TensorRT finishes its preparations for a shape in the first run
        self._device.synchronize(self._stream)
        graph = self._device.capture(self._stream, lambda: enqueue(context, self._stream))
        self._kept[batch] = _Captured(graph, context)
        del self._runs[batch]

    def _drop_oldest(self) -> int:
        batch, captured = self._kept.popitem(last=False)
        self._device.destroy_graph(captured.graph)
        return batch
