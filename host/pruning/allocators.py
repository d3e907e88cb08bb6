"""How many operators each layer loses. An allocator turns a rate into one pruned count per layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_s4op.errors import UsageError
from host.latency.model import LatencyModel
from host.pruning.plan import PrunePlan
from host.pruning.registry import Registry

__all__ = ["ALLOCATORS", "AllocationTask", "Allocator", "depth_exponential"]


@dataclass(frozen=True)
class AllocationTask:
    """What an allocator decides on: share `ratio` of all operators is to be pruned in total.

    `parent` is the plan it starts from (no layer can keep more than it does), `scores` a criterion's, one
    array (H_i,) per layer, higher = keep, and `latency` the device's latency model where one was learned.
    """

    ratio: float
    parent: PrunePlan
    scores: tuple[np.ndarray, ...]
    latency: LatencyModel | None = None


Allocator = Callable[[AllocationTask], list[int]]
"""Pruned operators of each layer, of its H_i: each within [0, H_i - 1]."""

ALLOCATORS: Registry[Allocator] = Registry("allocator")


@ALLOCATORS.register("depth-exponential")
def _depth_exponential(task: AllocationTask) -> list[int]:
    channels = set(task.parent.num_channels)
    if len(channels) > 1:
        raise UsageError(
            "allocator 'depth-exponential' is defined for layers of one width",
            expected="the same number of operators in every layer",
            found=list(task.parent.num_channels),
            fix="use allocator 'uniform' or 'global'",
        )
    return depth_exponential(task.ratio, len(task.parent.kept), channels.pop())


def depth_exponential(ratio: float, layers: int, channels: int) -> list[int]:
    """Deeper layers lose more: layer i's share is proportional to 2^i. S4oP, arXiv 2606.18096.

    The target is T = round(ratio * channels * layers) operators. Passes over the open layers, at first
    1..layers-1, share what is missing of T: layer i gets round(missing * 2^i / sum of 2^j over the open j).
    A layer never loses its last operator: one that reaches channels - 1 is closed. When all are
    closed, layer 0 opens. Rounding is half to even throughout.

    The counts equal the published ones wherever those exist and prune at all. Two cases are ours:
    - from about 54 layers up a share can round to zero for every layer, and the published loop never
      ends; then the deepest open layer takes one operator;
    - a model of one layer has no "other layers" to saturate, so its layer 0 is open from the start
      (the published loop prunes nothing there).
    """
    target = round(ratio * channels * layers)
    pruned = [0] * layers
    open_layers = list(range(1, layers)) or [0]
    while open_layers and sum(pruned) < target:
        shares = _shares(open_layers, target - sum(pruned))
        for layer, share in zip(open_layers, shares, strict=True):
            pruned[layer] = min(pruned[layer] + share, channels - 1)
        open_layers = [layer for layer in open_layers if pruned[layer] < channels - 1]
        if not open_layers and pruned[0] < channels - 1:
            open_layers = [0]
    return pruned


def _shares(open_layers: list[int], missing: int) -> list[int]:
    total = sum(2**layer for layer in open_layers)
    shares = [round(2**layer / total * missing) for layer in open_layers]
    return shares if any(shares) else [0] * (len(shares) - 1) + [1]
