"""The best plan of a user's own model that measures under a budget: predicted, measured, corrected.

The same search as `host.search.budget`'s, of one model on one device and of operators alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edge_s4op.artifact import Artifact
from edge_s4op.errors import BudgetError
from edge_s4op.messages import MeasurementResult
from host.compress.job import Job
from host.compress.layers import copy_model, current_plan
from host.compress.planning import BUDGET_FIX, plan_budget
from host.latency.model import LatencyModel
from host.models.surgery import apply_plan
from host.pruning.plan import PrunePlan, nested_plan

__all__ = ["BudgetSearch"]

_PLANS = 12  # that are measured before the search for one within the budget ends
_SLACK = 0.04  # a plan this far under its budget is worth another try
_IMPROVEMENTS = 2


@dataclass
class BudgetSearch:
    """The search for a plan that measures within `budget_ms`; plans first aim a little below it."""

    job: Job
    latency: LatencyModel
    budget_ms: float
    aim_ms: float = field(init=False)
    known: dict[tuple[int, ...], tuple[Artifact, MeasurementResult]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # below by the half of the interval that lies above the median
        self.aim_ms = self.budget_ms * (1 - self.job.settings.precision / 2)

    def planned(self) -> PrunePlan | None:
        """The plan for the present aim; None when none is predicted to reach it."""
        try:
            return plan_budget(self.job.model, self.job.scores, self.latency, self.aim_ms)
        except BudgetError:
            return None

    def smallest(self) -> PrunePlan:
        """One operator a layer."""
        parent = current_plan(self.job.model)
        scores = [self.job.scores[path] for path in self.job.scores]
        return nested_plan(parent, [total - 1 for total in parent.num_channels], scores)

    def measured(self, plan: PrunePlan) -> tuple[Artifact, MeasurementResult]:
        """The file of a plan, before fine-tuning, and its measurement, taken once for each structure."""
        if plan.structure() not in self.known:
            self.job.report(f"measure a plan that keeps {', '.join(map(str, plan.kept_counts))}")
            twin = copy_model(self.job.model)
            apply_plan(twin, plan)
            artifact = self.job.exported(twin)
            self.known[plan.structure()] = artifact, self.job.measured(artifact)
            self.correct(plan, self.known[plan.structure()][1])
        return self.known[plan.structure()]

    def correct(self, plan: PrunePlan, measurement: MeasurementResult) -> None:
        """Let a measurement correct the latency model, and the aim where it is over the budget."""
        self.latency = self.latency.corrected(plan.kept_counts, measurement.latency_ms.median)
        if not self.holds(measurement):
            self.lower(measurement)

    def lower(self, measurement: MeasurementResult) -> None:
        """Aim at what would have brought the interval's end down to the budget; at least one percent less."""
        over = measurement.latency_ms.median_interval.high / self.budget_ms
        self.aim_ms = min(self.aim_ms * 0.99, measurement.latency_ms.median / over)

    def holds(self, measurement: MeasurementResult) -> bool:
        """Whether all of the p50's interval is within the budget."""
        return measurement.latency_ms.median_interval.high <= self.budget_ms

    def value(self, plan: PrunePlan) -> float:
        """The score that a plan keeps."""
        layers = zip(self.job.scores.values(), plan.kept, strict=True)
        return float(sum(np.asarray(scores)[list(kept)].sum() for scores, kept in layers))

    def plan_that_holds(self) -> PrunePlan:
        """The best plan found whose file measures within the budget. Raises BudgetError."""
        best: PrunePlan | None = None
        improvements = 0
        for _ in range(_PLANS):
            plan = self.planned()
            if plan is None or plan == best:
                break
            seen = plan.structure() in self.known
            _, measurement = self.measured(plan)
            if not self.holds(measurement):
                if seen:
                    self.lower(measurement)
            elif best is not None and self.value(plan) <= self.value(best):
                break
            else:
                best, improvements = plan, improvements + 1
                high = measurement.latency_ms.median_interval.high
                if high > (1 - _SLACK) * self.budget_ms or improvements > _IMPROVEMENTS:
                    break
        return best or self._smallest_that_holds()

    def _smallest_that_holds(self) -> PrunePlan:
        plan = self.smallest()
        _, measurement = self.measured(plan)
        if not self.holds(measurement):
            raise self.beyond_reach("one operator a layer is left, and the rest of the model takes that")
        return plan

    def beyond_reach(self, why: str) -> BudgetError:
        """The error that says the smallest latency reached."""
        highs = (m.latency_ms.median_interval.high for _, m in self.known.values())
        return BudgetError(self.budget_ms, min(highs), why=why, fix=BUDGET_FIX)
