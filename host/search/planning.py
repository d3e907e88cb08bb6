"""What a candidate prunes, decided and measured on the device before anything is paid for its training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from host.family import Trial
from host.models.checkpoint import load_checkpoint
from host.models.classifier import Classifier
from host.models.surgery import apply_plan
from host.pruning.allocators import ALLOCATORS, NEED_LATENCY, AllocationTask
from host.pruning.calibration import Calibration, split_calibration
from host.pruning.criteria import CRITERIA, candidate_generator
from host.pruning.plan import PrunePlan, nested_plan
from host.search.budget import plan_under_budget
from host.search.context import Search
from host.search.decision import read_decision, write_decision
from host.search.latency import LatencyBook
from host.search.measuring import Measured, measure_models
from host.search.progress import SearchProgress
from host.search.shapes import shapes_within
from host.search.stages import SearchStage

__all__ = ["Planned", "calibration_of", "plan_candidates"]


@dataclass(frozen=True)
class Planned:
    """A candidate that is masked and measured, but not trained."""

    at: SearchProgress
    parent: PrunePlan
    plan: PrunePlan
    model: Classifier
    extra: dict[str, Any]
    scores: tuple[np.ndarray, ...]
    measured: Measured
    predicted_ms: float | None
    budget_ms: float | None
    seconds: float


def plan_candidates(
    search: Search, stage: SearchStage, parent: Trial, places: list[SearchProgress]
) -> list[Planned]:
    """The candidates at `places` of a stage, planned and measured.

    Raises BudgetError when no plan meets the stage's budget on every device, else as `measure_models` does.
    """
    if not places:
        return []
    if stage.budget is not None:
        return [_under_budget(search, stage, parent, at) for at in places]
    return _at_rate(search, stage, parent, places)


def calibration_of(search: Search) -> Calibration:
    """The training split, as criteria see it."""
    return split_calibration(search.dataset.train, search.options.training.eval_batch_size)


def _at_rate(
    search: Search, stage: SearchStage, parent: Trial, places: list[SearchProgress]
) -> list[Planned]:
    start = time.perf_counter()
    drafts = []
    for at in places:
        model, extra = load_checkpoint(search.weights(parent))
        scores = _scores(search, model, at.seed or 0, stage.rate)
        plan = _rate_plan(search, model, parent.plan, scores, at)
        apply_plan(model, plan)
        drafts.append((at, plan, model, extra, scores))
    measured = measure_models(search, [(model, at) for at, _, model, _, _ in drafts])
    seconds = (time.perf_counter() - start) / len(places)
    return [
        Planned(at, parent.plan, plan, model, extra, scores, result, None, None, seconds)
        for (at, plan, model, extra, scores), result in zip(drafts, measured, strict=True)
    ]


def _rate_plan(
    search: Search, model: Classifier, parent: PrunePlan, scores: tuple[np.ndarray, ...], at: SearchProgress
) -> PrunePlan:
    name = search.options.allocator
    latency = None
    if name in NEED_LATENCY:
        whole = shapes_within(model, search.options)[0]
        latency = LatencyBook(search, at).model(search.fleet.kinds[0], whole)
    pruned = ALLOCATORS.get(name)(AllocationTask(at.rate, parent, scores, latency))
    return nested_plan(parent, pruned, scores)


def _under_budget(search: Search, stage: SearchStage, parent: Trial, at: SearchProgress) -> Planned:
    """The decision is written down before the candidate is trained: measured again, it might be another."""
    assert stage.budget is not None
    assert at.seed is not None
    start = time.perf_counter()
    model, extra = load_checkpoint(search.weights(parent))
    scores = _scores(search, model, at.seed, stage.budget.value)
    decided = read_decision(search, at)
    if decided is None:
        calibration = calibration_of(search)
        decided = plan_under_budget(search, stage.budget, parent.plan, model, scores, calibration, at)
        write_decision(search, at, decided)
    apply_plan(model, decided.plan)
    (measured,) = measure_models(search, [(model, at)])
    return Planned(
        at,
        parent.plan,
        decided.plan,
        model,
        extra,
        scores,
        measured,
        decided.predicted_ms,
        decided.budget_ms,
        time.perf_counter() - start,
    )


def _scores(search: Search, model: Classifier, seed: int, target: float) -> tuple[np.ndarray, ...]:
    criterion = CRITERIA.get(search.options.criterion)
    return tuple(criterion(model, calibration_of(search), candidate_generator(seed, target)))
