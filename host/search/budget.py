"""The best plan that measures under a budget: predicted, measured, corrected, until it holds.

Every shape that may be tried (how many residual channels, how many states) gets the operators that the
knapsack finds under the predicted budget; of the shapes, the one whose masked model has the smallest loss on
training data is measured. What was measured corrects the latency model, and the next plan comes from that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from edge_s4op.errors import BudgetError, MeasurementError
from host.measuring import Measurement
from host.models.classifier import Classifier
from host.models.surgery import apply_plan
from host.pruning.allocators import not_negative
from host.pruning.calibration import Calibration
from host.pruning.features import choose_features, feature_scores
from host.pruning.knapsack import choose, keep_values
from host.pruning.plan import PrunePlan
from host.search.context import Search
from host.search.decision import Decision
from host.search.latency import LatencyBook
from host.search.limits import Limit, limits_of, spent
from host.search.measuring import Measured, latency_of, measure_models
from host.search.options import Budget
from host.search.progress import SearchProgress
from host.search.shapes import Shape, shapes_within

__all__ = ["plan_under_budget"]

_ATTEMPTS = 12
_SLACK = 0.04  # a plan this far under its budget is worth another try
_IMPROVEMENTS = 2


@dataclass(frozen=True)
class _Draft:
    plan: PrunePlan
    model: Classifier
    shape: Shape
    predicted_ms: tuple[float, ...]
    value: float


class _Attempt:
    """What the attempts at one budget share."""

    def __init__(
        self,
        search: Search,
        limits: tuple[Limit, ...],
        parent: PrunePlan,
        model: Classifier,
        scores: Sequence[np.ndarray],
        calibration: Calibration,
        at: SearchProgress,
    ) -> None:
        self.search, self.limits, self.parent, self.model = search, limits, parent, model
        self.scores, self.calibration, self.at = not_negative(parent, scores), calibration, at
        self.shapes = shapes_within(model, search.options)
        self.features = {shape.width: _features(model, calibration, shape.width) for shape in self.shapes}
        self.book = LatencyBook(search, at)
        self.book.learn(self.shapes)
        self.aims = [limit.first_aim_ms for limit in limits]

    def best_draft(self) -> _Draft | None:
        """The plan with the smallest loss among the shapes' best; None when every shape is over."""
        drafts = [draft for shape in self.shapes if (draft := self._draft(shape)) is not None]
        if len(drafts) <= 1:
            return drafts[0] if drafts else None
        return min(drafts, key=lambda draft: _loss(draft.model, self.calibration))

    def smallest_draft(self) -> _Draft:
        """One operator a layer, at the smallest shape."""
        shape = self.shapes[-1]
        kept = self._kept(shape, [1] * len(self.parent.kept))
        return self._as_draft(shape, kept, 0.0)

    def measure(self, draft: _Draft) -> Measured:
        """Measure a draft and let it correct the latency models. Raises MeasurementError."""
        note = f"predicted {draft.predicted_ms[0]:.4g} ms"
        self.search.report(self.at, phase="plan", stage=note)
        (measured,) = measure_models(self.search, [(draft.model, self.at)])
        for kind, measurement in zip(self.search.fleet.kinds, measured, strict=True):
            if measurement.result is None:
                raise MeasurementError(
                    f"a plan for {self.at.target} could not be measured: {measurement.error}",
                    fix="repair the device's measurements and resume",
                )
            p50_ms = measurement.result.latency_ms.median
            self.book.correct(kind, draft.shape, draft.plan.kept_counts, p50_ms)
        return measured

    def holds(self, measured: Measured) -> bool:
        """Whether the upper ends of all intervals are within the limits."""
        return self.slack(measured) >= 0

    def slack(self, measured: Measured) -> float:
        """The smallest share of a limit that is left."""
        return min(
            1 - spent(m, limit).high / limit.value for m, limit in zip(measured, self.limits, strict=True)
        )

    def aim_lower(self, measured: Measured) -> None:
        """Take the intervals' widths and what is still over off the aims; always at least one percent."""
        for index, (measurement, limit) in enumerate(zip(measured, self.limits, strict=True)):
            over = spent(measurement, limit).high / limit.value
            if over > 1:
                reached = _p50(measurement)
                self.aims[index] = min(self.aims[index] * 0.99, reached / over)

    def _draft(self, shape: Shape) -> _Draft | None:
        costs = self._costs(shape)
        if costs is None:
            return None
        values = [keep_values(scores, kept)[: shape.width + 1] for scores, kept in self._open(shape)]
        counts = choose(values, costs, 1.0)
        if counts is None:
            return None
        value = float(sum(layer[count] for layer, count in zip(values, counts, strict=True)))
        return self._as_draft(shape, self._kept(shape, counts), value)

    def _as_draft(self, shape: Shape, kept: tuple[tuple[int, ...], ...], value: float) -> _Draft:
        whole = shape == self.shapes[0]
        plan = replace(
            self.parent,
            kept=kept,
            features=self.parent.features if whole else self.features[shape.width],
            states=self.parent.states if whole else shape.states,
        )
        model = _copy(self.model)
        apply_plan(model, plan)
        predicted = tuple(
            self.book.model(kind, shape).predict_ms(plan.kept_counts) for kind in self.search.fleet.kinds
        )
        return _Draft(plan, model, shape, predicted, value)

    def _open(self, shape: Shape) -> list[tuple[np.ndarray, tuple[int, ...]]]:
        """Scores of each layer, and the operators among which it may choose at this shape."""
        features = set(self.features[shape.width])
        channels = [tuple(channel for channel in kept if channel in features) for kept in self.parent.kept]
        return list(zip(self.scores, channels, strict=True))

    def _kept(self, shape: Shape, counts: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        kept = []
        for (scores, channels), count in zip(self._open(shape), counts, strict=True):
            ranked = sorted(channels, key=lambda channel: (-float(scores[channel]), channel))
            kept.append(tuple(sorted(ranked[:count])))
        return tuple(kept)

    def _costs(self, shape: Shape) -> list[np.ndarray] | None:
        """Share of the room that each count of each layer takes, on the device where it takes most.

        The sum of the largest shares is at least every device's own sum, so that a plan within 1 fits all.
        """
        shares: list[np.ndarray] | None = None
        for kind, aim_ms in zip(self.search.fleet.kinds, self.aims, strict=True):
            model = self.book.model(kind, shape)
            room_ms = aim_ms - model.base_ms
            if room_ms <= 0:
                return None
            own = [model.layer_ms(layer) / room_ms for layer in range(len(self.parent.kept))]
            shares = own if shares is None else list(map(np.maximum, shares, own))
        return shares


def plan_under_budget(
    search: Search,
    budget: Budget,
    parent: PrunePlan,
    model: Classifier,
    scores: Sequence[np.ndarray],
    calibration: Calibration,
    at: SearchProgress,
) -> Decision:
    """The plan within `parent` that keeps most and measures under `budget`, interval included, everywhere.

    scores: a criterion's, one array (H,) per layer of `model`, which is the parent's. Raises BudgetError,
    with the smallest cost reached, when even one operator a layer at the smallest shape costs more,
    MeasurementError when a device cannot measure a plan, UsageError for an energy budget on a board that
    reports no power.
    """
    limits = limits_of(search, budget)
    attempt = _Attempt(search, limits, parent, model, scores, calibration, at)
    best: tuple[_Draft, Measured] | None = None
    improvements = 0
    for _ in range(_ATTEMPTS):
        draft = attempt.best_draft()
        if draft is None or (best is not None and draft.plan == best[0].plan):
            break
        measured = attempt.measure(draft)
        if not attempt.holds(measured):
            attempt.aim_lower(measured)
        elif best is None or draft.value > best[0].value:
            best = draft, measured
            improvements += 1
            if attempt.slack(measured) < _SLACK or improvements > _IMPROVEMENTS:
                break
        else:
            break
    if best is None:
        best = _smallest(attempt, budget)
    draft, limit = best[0], limits[0]
    budget_ms = limit.value if limit.unit == "ms" else None
    return Decision(plan=draft.plan, predicted_ms=draft.predicted_ms[0], budget_ms=budget_ms)


def _smallest(attempt: _Attempt, budget: Budget) -> tuple[_Draft, Measured]:
    draft = attempt.smallest_draft()
    measured = attempt.measure(draft)
    if attempt.holds(measured):
        return draft, measured
    costs = [spent(m, limit) for m, limit in zip(measured, attempt.limits, strict=True)]
    worst = max(range(len(costs)), key=lambda i: costs[i].high / attempt.limits[i].value)
    options, limit = attempt.search.options, attempt.limits[worst]
    left = [name for name in ("features", "states") if not getattr(options, name)]
    raise BudgetError(
        limit.value,
        costs[worst].high,
        unit=limit.unit,
        why=f"one operator a layer is left, and the rest of the model takes that on {limit.board}",
        fix="raise the budget, use a smaller model"
        + (f", or let {' and '.join(left)} be pruned too (--{', --'.join(left)})" if left else ""),
    )


def _features(model: Classifier, calibration: Calibration, width: int) -> tuple[int, ...]:
    if width == len(model.kept_features()):
        return model.kept_features()
    return choose_features(model, feature_scores(model, calibration), width)


@torch.no_grad()
def _loss(model: Classifier, calibration: Calibration) -> float:
    model.eval()
    losses = torch.cat(list(calibration.losses(model)))
    loss = float(losses.double().mean())
    return loss if math.isfinite(loss) else math.inf


def _p50(measurement: Measurement) -> float:
    latency = latency_of(measurement)
    assert latency is not None
    return latency.p50_ms


def _copy(model: Classifier) -> Classifier:
    """Not copy.deepcopy, which drops the marks of SSM parameters."""
    twin = Classifier(model.config)
    twin.load_state_dict(model.state_dict())
    return twin.eval()
