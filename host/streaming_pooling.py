"""The mean that a stream's logits are of: over every sample so far, or over the last few, in ONNX.

    running    total and count of everything. The total is compensated (Kahan): float32 alone would lose a
               sample's share of it to rounding, a little more with every sample of a stream that never ends.
    sliding    the last N samples' logits, oldest first, summed anew at each run: nothing can accumulate.
               Before N samples were seen the mean is of those there are: what is not there yet is zero.

What arrives is the head's product of each sample, rows (T B, classes), time before batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import TensorProto

from edge_s4op.artifact import Datatype, StateInfo
from host.onnx_nodes import GraphNodes
from host.streaming_nodes import Branch

__all__ = ["Pooling"]


@dataclass(frozen=True)
class Pooling:
    """Mean over the last `window` samples; None: over all."""

    classes: int
    window: int | None

    def states(self) -> tuple[StateInfo, ...]:
        """What the mean carries."""
        count = _state("count", (1,), "INT64")
        if self.window is not None:
            return _state("recent", (self.window, self.classes)), count
        return _state("total", (self.classes,)), _state("lost", (self.classes,)), count

    def keep(self, g: GraphNodes) -> None:
        """Put the constants of the nodes into the graph."""
        g.shape("pool/axis", [1])
        g.shape("pool/first_axis", [0])
        g.shape("pool/any_time", [-1])
        g.shape("pool/classes", [self.classes])
        g.shape("pool/one_row", [-1, 1, self.classes])
        if self.window is not None:
            g.shape("pool/window", [self.window])
            g.shape("pool/from", [-self.window])
            g.shape("pool/to", [2**62])

    def add(self, g: Branch, each: str) -> tuple[str, list[str]]:
        """Add the nodes of a branch: the mean (B, classes), and the next states."""
        count = g.add("pool/counted", "Add", "pool/count", "samples")
        if self.window is None:
            total, kept = self._running(g, each)
            pooled = count
        else:
            total, kept = self._sliding(g, each)
            pooled = g.add("pool/pooled", "Min", count, "pool/window")
        divisor = g.add("pool/divisor", "Cast", pooled, to=TensorProto.FLOAT)
        return g.add("pool/mean", "Div", total, divisor), [*kept, count]

    def _by_time(self, g: Branch, each: str) -> str:
        """(T B, classes) -> (T, B, classes)."""
        batch = g.add("pool/batch", "Shape", "pool/count", start=0, end=1)
        shape = g.add("pool/time_shape", "Concat", "pool/any_time", batch, "pool/classes", axis=0)
        return g.add("pool/by_time", "Reshape", each, shape)

    def _running(self, g: Branch, each: str) -> tuple[str, list[str]]:
        """total' = total + (new - lost); lost' = what total' holds of it too much."""
        if not g.is_single:
            each = _sum(g, self._by_time(g, each), "pool/first_axis")
        new = g.add("pool/corrected", "Sub", each, "pool/lost")
        total = g.add("pool/sum_now", "Add", "pool/total", new)
        took = g.add("pool/took", "Sub", total, "pool/total")
        return total, [total, g.add("pool/lost_now", "Sub", took, new)]

    def _sliding(self, g: Branch, each: str) -> tuple[str, list[str]]:
        if g.is_single:
            new = g.add("pool/new", "Reshape", each, "pool/one_row")
        else:
            new = g.add("pool/new", "Transpose", self._by_time(g, each), perm=[1, 0, 2])
        both = g.add("pool/both", "Concat", "pool/recent", new, axis=1)  # (B, N + T, classes)
        kept = g.add("pool/kept", "Slice", both, "pool/from", "pool/to", "pool/axis")
        return _sum(g, kept, "pool/axis"), [kept]


def _sum(g: Branch, x: str, axis: str) -> str:
    """Sum in double: float32 would be off by 1e-4 after 10,000 samples that are much alike."""
    wide = g.add("pool/wide", "Cast", x, to=TensorProto.DOUBLE)
    total = g.add("pool/sum", "ReduceSum", wide, axis, keepdims=0)
    return g.add("pool/narrow", "Cast", total, to=TensorProto.FLOAT)


def _state(name: str, shape: tuple[int, ...], datatype: Datatype = "FP32") -> StateInfo:
    return StateInfo(
        name_in=f"pool/{name}", name_out=f"pool/next_{name}", shape=(-1, *shape), datatype=datatype
    )
