"""How many operators each layer loses. An allocator turns a rate into one pruned count per layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_s4op.errors import UsageError
from host.latency.model import LatencyModel
from host.pruning.knapsack import choose, keep_values
from host.pruning.plan import PrunePlan
from host.pruning.registry import Registry

__all__ = [
    "ALLOCATORS",
    "NEED_LATENCY",
    "AllocationTask",
    "Allocator",
    "allocate_budget",
    "depth_exponential",
    "global_shares",
    "latency_aware",
    "not_negative",
    "uniform",
]


@dataclass(frozen=True)
class AllocationTask:
    """What an allocator decides on: share `ratio` of all operators is to be pruned in total.

    `parent` is the plan it starts from (no layer can keep more than it does), `scores` a criterion's, one
    array (H_i,) per layer, higher = keep, and `latency` the device's latency model where one was learned.
    `global` leaves every layer at least share `floor_share` of its operators.
    """

    ratio: float
    parent: PrunePlan
    scores: tuple[np.ndarray, ...]
    latency: LatencyModel | None = None
    floor_share: float = 0.0


Allocator = Callable[[AllocationTask], list[int]]
"""Pruned operators of each layer, of its H_i: each within [0, H_i - 1]."""

ALLOCATORS: Registry[Allocator] = Registry("allocator")

NEED_LATENCY = frozenset({"latency-aware"})
"""Allocators that need `AllocationTask.latency`."""


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


@ALLOCATORS.register("uniform")
def uniform(task: AllocationTask) -> list[int]:
    """The same share of every layer, to the operator: round(ratio * total) in all, by largest remainder.

    A layer keeps one operator, and loses at least what its parent had lost. Where that binds, the other
    layers still lose one share r: layer i loses min(max(r H_i, already_i), H_i - 1), and r is where these sum
    to the target.
    """
    totals = np.array(task.parent.num_channels)
    least, most = np.array(_already_pruned(task.parent)), totals - 1
    target = min(max(_target(task), int(least.sum())), int(most.sum()))
    shares = np.unique(np.concatenate([least, most]) / np.tile(totals, 2))  # where the sum has its bends
    sums = np.clip(shares[:, None] * totals, least, most).sum(axis=1)
    exact = np.clip(np.interp(target, sums, shares) * totals, least, most)  # (layers,), sums to the target
    pruned = np.floor(exact + 1e-9).astype(int)
    for layer in np.argsort(pruned - exact, kind="stable")[: target - pruned.sum()]:
        pruned[layer] += 1
    return [int(count) for count in pruned]


@ALLOCATORS.register("global")
def global_shares(task: AllocationTask) -> list[int]:
    """All operators of the parent in one ranking: the lowest scores go, whatever their layer.

    round(ratio * total) are pruned in all, counting what the parent had pruned, or as many as can be: of
    every layer the best max(1, ceil(floor_share * H_i)) stay. Scores of different layers are compared as they
    are, so that the criterion must measure one thing in all of them, as `fisher` and `taylor` do: the loss.
    """
    pruned = _already_pruned(task.parent)
    floors = [max(1, math.ceil(task.floor_share * total)) for total in task.parent.num_channels]
    candidates = [
        (float(scores[channel]), layer, channel)
        for layer, (kept, scores) in enumerate(zip(task.parent.kept, task.scores, strict=True))
        for channel in sorted(kept, key=lambda c: (float(scores[c]), -c))[: max(0, len(kept) - floors[layer])]
    ]
    missing = max(0, _target(task) - sum(pruned))
    for _, layer, _ in sorted(candidates)[:missing]:
        pruned[layer] += 1
    return pruned


@ALLOCATORS.register("latency-aware")
def latency_aware(task: AllocationTask) -> list[int]:
    """As fast as the rate spread evenly, but with the most score that fits into that time.

    Maximises the kept score subject to the latency that `task.latency` predicts for `uniform`. Raises
    UsageError when no latency model was learned.
    """
    if task.latency is None:
        raise UsageError(
            "allocator 'latency-aware' needs a latency model of the device",
            fix="run a search with an agent, which learns one, or use allocator 'global'",
        )
    even = uniform(task)
    kept = [total - gone for total, gone in zip(task.parent.num_channels, even, strict=True)]
    found = allocate_budget(task.parent, task.scores, task.latency, task.latency.predict_ms(kept))
    return even if found is None else found


def allocate_budget(
    parent: PrunePlan, scores: Sequence[np.ndarray], latency: LatencyModel, budget_ms: float
) -> list[int] | None:
    """Pruned operators of each layer that keep most score within a predicted `budget_ms`.

    None when even one operator a layer is over. `host.pruning.knapsack` says how exact it is. Where scores
    are negative, all are raised by one number, so that the lowest is just worth keeping: an operator that
    there is time for stays, whatever its score.
    """
    raised = not_negative(parent, scores)
    values = [keep_values(layer, kept) for layer, kept in zip(raised, parent.kept, strict=True)]
    costs = [latency.layer_ms(layer) for layer in range(len(parent.kept))]
    kept_counts = choose(values, costs, budget_ms - latency.base_ms)
    if kept_counts is None:
        return None
    return [total - count for total, count in zip(parent.num_channels, kept_counts, strict=True)]


def not_negative(parent: PrunePlan, scores: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The scores; raised so that all of the parent's operators are above 0 where one is below."""
    theirs = np.concatenate([np.asarray(s)[list(kept)] for s, kept in zip(scores, parent.kept, strict=True)])
    lowest, span = float(theirs.min()), float(np.ptp(theirs))
    raise_by = 0.0 if lowest >= 0 else (span / 1000 or 1.0) - lowest
    return [np.asarray(layer) + raise_by for layer in scores]


def _target(task: AllocationTask) -> int:
    return round(task.ratio * sum(task.parent.num_channels))


def _already_pruned(parent: PrunePlan) -> list[int]:
    return [total - count for total, count in zip(parent.num_channels, parent.kept_counts, strict=True)]
