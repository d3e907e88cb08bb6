"""What of a family can be drawn: points of latency and accuracy, and the ranges they span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from host.family import Family, Trial
from host.report.front import pareto_front
from host.report.rows import kept_trials

__all__ = ["Point", "Points", "accuracy_range", "latency_range", "points_of"]


@dataclass(frozen=True)
class Point:
    """A trial whose latency was measured; accuracies in percent.

    `dominated`: another trial is at least as accurate and as fast, and better in one of the two.
    """

    trial: Trial
    p50_ms: float
    low_ms: float
    high_ms: float
    validation: float | None
    test: float | None
    dominated: bool

    @property
    def accuracies(self) -> list[float]:
        return [value for value in (self.validation, self.test) if value is not None]


@dataclass(frozen=True)
class Points:
    """Kept models from unpruned to most pruned, other candidates, and kept models without a place."""

    kept: tuple[Point, ...]
    others: tuple[Point, ...]
    missing: tuple[Trial, ...]

    @property
    def all(self) -> tuple[Point, ...]:
        return self.kept + self.others

    @property
    def front(self) -> list[tuple[float, float]]:
        """Latency and validation accuracy of the Pareto front of all trials, fastest first."""
        points = (point for point in self.all if not point.dominated)
        return sorted({(p.p50_ms, p.validation) for p in points if p.validation is not None})

    @property
    def budgets_ms(self) -> list[float]:
        """The latency budgets that trials were planned for, ascending."""
        return sorted({p.trial.budget_ms for p in self.all if p.trial.budget_ms is not None})


def points_of(family: Family) -> Points:
    """Sort the trials into what can be drawn and what cannot."""
    kept, front = kept_trials(family), pareto_front(family.trials)
    drawn = _drawable(kept, front)
    placed = [point.trial for point in drawn]
    return Points(
        kept=drawn,
        others=_drawable([trial for trial in family.trials if not trial.kept], front),
        missing=tuple(trial for trial in kept if trial not in placed),
    )


def latency_range(points: Points, budget_ms: float | None) -> tuple[float, float]:
    """The x axis, ms: every interval, and those budgets that do not lie so far off that they squash them."""
    low = min((point.low_ms for point in points.all), default=0.0)
    high = max((point.high_ms for point in points.all), default=1.0)
    reach = max(high - low, 0.2 * high)
    budgets_ms = [*points.budgets_ms, *([] if budget_ms is None else [budget_ms])]
    near_ms = [value for value in budgets_ms if low - reach <= value <= high + reach]
    low, high = min([low, *near_ms]), max([high, *near_ms])
    margin = max(0.08 * (high - low), 0.1 * high, 1e-9)
    return max(0.0, low - margin), high + margin


def accuracy_range(points: Points) -> tuple[float, float]:
    """The y axis, percent: at least 5 points, and room for labels above the highest point."""
    values = [value for point in points.all for value in point.accuracies]
    low, high = min(values, default=0.0), max(values, default=100.0)
    span = max(high - low, 4.0)
    middle = (low + high) / 2
    return middle - 0.6 * span, middle + 0.66 * span


def _drawable(trials: Sequence[Trial], front: Sequence[Trial]) -> tuple[Point, ...]:
    found = (_point(trial, front) for trial in trials)
    return tuple(point for point in found if point is not None and point.accuracies)


def _point(trial: Trial, front: Sequence[Trial]) -> Point | None:
    if trial.latency is None:
        return None
    taken = trial.latency
    return Point(
        trial=trial,
        p50_ms=taken.p50_ms,
        low_ms=min(taken.p50_interval_ms.low, taken.p50_ms),
        high_ms=max(taken.p50_interval_ms.high, taken.p50_ms),
        validation=None if trial.validation_accuracy is None else 100 * trial.validation_accuracy,
        test=None if trial.test_accuracy is None else 100 * trial.test_accuracy,
        dominated=trial.validation_accuracy is not None and trial not in front,
    )
