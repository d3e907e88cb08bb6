"""The whole way in one call: score, plan, prune, fine-tune, export, measure, until the budget holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from edge_s4op.artifact import Artifact
from edge_s4op.client import AgentClient
from edge_s4op.errors import UsageError
from edge_s4op.messages import MeasurementResult, MeasurementSettings
from host.compress.budget import BudgetSearch
from host.compress.example import Example
from host.compress.job import Job, Tune
from host.compress.layers import copy_model
from host.compress.planning import plan_ratio, score
from host.latency.model import LatencyModel
from host.models.surgery import apply_plan
from host.pruning.allocators import NEED_LATENCY
from host.pruning.calibration import Calibration
from host.pruning.plan import PrunePlan

__all__ = ["Compressed", "compress"]

_TUNINGS = 3  # of plans that held before they were fine-tuned, and did not afterwards


@dataclass(frozen=True)
class Compressed:
    """What `compress` made. `model` is masked by `plan`; `artifact` is it with what is masked cut out.

    `measurement` is of this artifact, `latency` the device's model as the measurements left it; both None
    without an agent, `latency` also where no plan needed one.
    """

    model: nn.Module
    plan: PrunePlan
    artifact: Artifact
    measurement: MeasurementResult | None = None
    latency: LatencyModel | None = None


def compress(
    model: nn.Module,
    calibration: Calibration | None,
    example: Example,
    *,
    pruning_ratio: float | None = None,
    latency_budget_ms: float | None = None,
    latency_budget_ratio: float | None = None,
    agent: AgentClient | None = None,
    settings: MeasurementSettings | None = None,
    criterion: str = "fisher",
    allocator: str = "global",
    tune: Tune | None = None,
    seed: int = 0,
    export_options: Mapping[str, Any] | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Compressed:
    """A smaller model: of a share of the operators less, or measured within a latency budget.

    Exactly one of `pruning_ratio` (shared over layers by `allocator`), `latency_budget_ms` and
    `latency_budget_ratio` (of the p50 that `model` measures now) is given; a budget needs an `agent`. Under a
    budget the device's latency is learned, the plan that keeps most score within it is measured, and what
    was measured corrects the latency model, until the upper end of the p50's interval is within the budget.
    `tune(model)` fine-tunes the masked model in place, however it likes (`fine_tune`); afterwards the file is
    measured again. `model` stays as it is. `export_options` are `export`'s keyword arguments.

    Raises BudgetError, with the smallest latency reached, when no plan holds; UsageError for a request that
    cannot be met; and what `score`, `export` and `measure` raise.
    """
    _check_request(pruning_ratio, latency_budget_ms, latency_budget_ratio, agent)
    scores = score(model, calibration, criterion=criterion, seed=seed)
    job = Job(
        model=copy_model(model),
        example=example,
        scores=scores,
        agent=agent,
        settings=settings or MeasurementSettings(),
        tune=tune,
        export_options=export_options or {},
        report=on_progress or (lambda what: None),
    )
    if pruning_ratio is not None:
        return _to_ratio(job, pruning_ratio, allocator)
    latency = job.learned()
    if latency_budget_ratio is not None:
        latency_budget_ms = latency_budget_ratio * latency.observations[0].p50_ms
    assert latency_budget_ms is not None
    return _to_budget(BudgetSearch(job, latency, latency_budget_ms))


def _to_ratio(job: Job, ratio: float, allocator: str) -> Compressed:
    latency = job.learned() if allocator in NEED_LATENCY and job.agent is not None else None
    plan = plan_ratio(job.model, job.scores, ratio, allocator=allocator, latency=latency)
    apply_plan(job.model, plan)
    job.tuned()
    artifact = job.exported(job.model)
    measurement = None if job.agent is None else job.measured(artifact)
    return Compressed(job.model, plan, artifact, measurement, latency)


def _to_budget(search: BudgetSearch) -> Compressed:
    job = search.job
    for _ in range(_TUNINGS):
        plan = search.plan_that_holds()
        apply_plan(job.model, plan)
        artifact, measurement = search.measured(plan)
        if job.tune is not None:
            job.tuned()
            artifact = job.exported(job.model)
            job.report("measure the fine-tuned model")
            measurement = job.measured(artifact)
        if search.holds(measurement):
            return Compressed(job.model, plan, artifact, measurement, search.latency)
        search.known[plan.structure()] = artifact, measurement
        search.correct(plan, measurement)
    raise search.beyond_reach(
        f"{_TUNINGS} plans held before they were fine-tuned and not afterwards: the device is not steady"
    )


def _check_request(
    ratio: float | None, budget_ms: float | None, budget_ratio: float | None, agent: AgentClient | None
) -> None:
    given = {
        "pruning_ratio": ratio,
        "latency_budget_ms": budget_ms,
        "latency_budget_ratio": budget_ratio,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) != 1:
        raise UsageError(
            "say how small the model is to become, in one way",
            expected=f"one of {', '.join(given)}",
            found=", ".join(chosen) or "none",
        )
    ((name, value),) = chosen.items()
    if name == "pruning_ratio":
        return
    if not value > 0:
        raise UsageError(f"{name} must be positive", found=value)
    if agent is None:
        raise UsageError(
            f"{name} needs an agent that measures on the device",
            fix="pass agent=AgentClient.connect('http://device:8600'), or give a pruning_ratio",
        )
