"""Scoring the operators of a user's own model, and choosing which of them stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from edge_s4op.errors import BudgetError, UsageError
from host.compress.layers import checked_layers, current_plan
from host.latency.model import LatencyModel
from host.pruning.allocators import ALLOCATORS, AllocationTask, allocate_budget
from host.pruning.calibration import Calibration
from host.pruning.criteria import CRITERIA
from host.pruning.plan import PrunePlan, nested_plan

__all__ = ["Loss", "Scores", "calibration", "plan_budget", "plan_ratio", "score"]

Loss = Callable[[nn.Module, Any], Tensor]
"""`loss(model, batch)` runs the model on a batch and returns the loss of each of its samples, (B,)."""

Scores = Mapping[str, np.ndarray]
"""Scores (H,) of each layer's operators by the layer's path, higher = keep."""


def calibration(batches: Iterable[Any], loss: Loss) -> Calibration:
    """Training batches, and the loss of each of their samples, for the criteria that need them.

    `batches` is any iterable that can be gone through again (a DataLoader, a list), of whatever `loss` takes.
    Raises UsageError for one that is used up after one pass.
    """
    return Calibration(batches=lambda: reiterable(batches), loss=loss)


def reiterable(batches: Iterable[Any]) -> Iterable[Any]:
    """`batches`. Raises UsageError for an iterator, of which a second pass would see nothing."""
    if isinstance(batches, Iterator):
        raise UsageError(
            "the batches can be gone through only once",
            expected="a list, a DataLoader, or another iterable that starts anew",
            found=type(batches).__name__,
            fix="pass list(batches)",
        )
    return batches


def score(
    model: nn.Module, calibration: Calibration | None = None, *, criterion: str = "fisher", seed: int = 0
) -> dict[str, np.ndarray]:
    """How much each operator matters, by the criterion of that name (`host.pruning.CRITERIA`).

    Returns one float64 array (H,) per layer by the layer's path, higher = keep; `model` stays as it was.
    `seed` is for criteria that draw. Raises UsageError for a model without SSM layers, a criterion without
    the data it needs, and scores that are not finite; UnknownNameError for a criterion that is not there.
    """
    layers = checked_layers(model)
    scores = CRITERIA.get(criterion)(model, calibration, np.random.default_rng(seed))
    return dict(zip(layers, scores, strict=True))


def plan_ratio(
    model: nn.Module,
    scores: Scores,
    ratio: float,
    *,
    allocator: str = "global",
    latency: LatencyModel | None = None,
) -> PrunePlan:
    """The plan that prunes `ratio` of all operators, shared over layers by the allocator of that name.

    What is pruned already counts and stays pruned; a layer keeps at least one operator. `latency` is for
    allocators that look at it (`latency-aware`). Raises UsageError for a ratio outside [0, 1), for scores of
    other layers, and where the allocator cannot work on this model.
    """
    if not 0 <= ratio < 1:
        raise UsageError("not a pruning ratio", expected="at least 0 and below 1", found=ratio)
    parent, ordered = current_plan(model), _in_order(model, scores)
    pruned = ALLOCATORS.get(allocator)(AllocationTask(ratio, parent, ordered, latency))
    return nested_plan(parent, pruned, ordered)


def plan_budget(model: nn.Module, scores: Scores, latency: LatencyModel, budget_ms: float) -> PrunePlan:
    """The plan that keeps most score among those that `latency` predicts to take at most `budget_ms`.

    Solved exactly (`host.pruning.knapsack`). What is pruned already stays pruned. Raises BudgetError when
    even one operator a layer is predicted to take longer, UsageError for scores of other layers.
    """
    parent, ordered = current_plan(model), _in_order(model, scores)
    pruned = allocate_budget(parent, ordered, latency, budget_ms)
    if pruned is None:
        smallest = latency.predict_ms([1] * len(parent.kept))
        raise BudgetError(budget_ms, smallest, why="predicted for one operator a layer", fix=BUDGET_FIX)
    return nested_plan(parent, pruned, ordered)


BUDGET_FIX = "raise the budget, or make the rest of the model smaller"


def _in_order(model: nn.Module, scores: Scores) -> tuple[np.ndarray, ...]:
    layers = checked_layers(model)
    if set(scores) != set(layers):
        raise UsageError(
            "the scores are not of this model's layers",
            expected=", ".join(layers),
            found=", ".join(scores) or "none",
            fix="score this model",
        )
    return tuple(np.asarray(scores[path]) for path in layers)
