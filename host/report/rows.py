"""The kept models of a family as plain values: what `--json` prints and the tables show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from host.family import Family, Latency, Trial
from host.report.front import pareto_front
from host.report.names import device_names, is_unpruned, trial_name

__all__ = ["disturbances", "family_rows", "kept_trials", "problems"]


def kept_trials(family: Family) -> list[Trial]:
    """The kept trials: the unpruned model, then by the share of operators pruned."""
    return sorted(family.kept(), key=lambda trial: (not is_unpruned(trial), trial.rate))


def family_rows(
    family: Family, *, budget_ms: float | None = None, chosen: Trial | None = None
) -> list[dict[str, Any]]:
    """One JSON-ready dict per kept model, the unpruned one first.

    Accuracies are fractions of one, latencies ms with [low, high] intervals, `energy_mj` mJ per inference;
    `speedup` divides the unpruned p50 by this one and `*_less` are fractions of the unpruned model's.
    `stage`, `budget_ms` and `predicted_ms` say what the model was planned for; `on_front` whether no trial is
    both more accurate and faster. `features` counts kept residual channels, `states` real states per layer
    (None: all). `disturbed` says what changed the latency beside the model. What is not known is None, so is
    `within_budget` without a budget.
    """
    trials = kept_trials(family)
    unpruned = next(filter(is_unpruned, trials), None)
    front = pareto_front(family.trials)
    boards = device_names(family)[1:]
    return [
        {
            **_row(trial, unpruned, budget_ms, trial == chosen),
            "on_front": _is_on_front(trial, front),
            "other_devices": _other_latencies(trial, boards),
            "error": trial.error,
        }
        for trial in trials
    ]


def problems(trials: Sequence[Trial]) -> list[str]:
    """What went wrong, one line per trial with an error."""
    return [f"{trial_name(trial)}: {trial.error}" for trial in trials if trial.error]


def disturbances(family: Family, trials: Sequence[Trial]) -> list[str]:
    """The footnotes of latencies with an asterisk, one line per measurement."""
    names = device_names(family)
    lines = []
    for trial in trials:
        for name, taken in zip(names, (trial.latency, *trial.other_latencies), strict=False):
            if taken is not None and taken.disturbed:
                where = f" on {name}" if len(names) > 1 else ""
                why = "; ".join(taken.disturbed)
                lines.append(f"* {trial_name(trial)}{where}: measured while disturbed: {why}")
    return lines


def _row(trial: Trial, unpruned: Trial | None, budget_ms: float | None, chosen: bool) -> dict[str, Any]:
    return {
        "model": trial.model,
        "stage": trial.stage,
        "rate": trial.rate,
        "budget_ms": trial.budget_ms,
        "predicted_ms": trial.predicted_ms,
        "seed": trial.seed,
        "chosen": chosen,
        "kept_operators": sum(trial.plan.kept_counts),
        "operators": sum(trial.plan.num_channels),
        "kept_per_layer": list(trial.plan.kept_counts),
        "features": None if trial.features is None else len(trial.features),
        "states": None if trial.states is None else list(trial.states),
        "validation_accuracy": trial.validation_accuracy,
        "test_accuracy": trial.test_accuracy,
        **_latency_values(trial.latency),
        "energy_mj": None if trial.latency is None else trial.latency.energy_mj,
        "speedup": _speedup(trial, unpruned),
        "within_budget": _within(trial, budget_ms),
        "parameters": trial.parameters,
        "parameters_less": _less(trial.parameters, unpruned.parameters if unpruned else None),
        "macs": trial.macs,
        "macs_less": _less(trial.macs, unpruned.macs if unpruned else None),
    }


def _latency_values(latency: Latency | None) -> dict[str, Any]:
    names = ("p50_ms", "p50_interval_ms", "p95_ms", "p95_interval_ms")
    if latency is None:
        return {**dict.fromkeys(names), "disturbed": []}
    values = latency.model_dump()
    return {**{name: _bounds(values[name]) for name in names}, "disturbed": list(latency.disturbed)}


def _other_latencies(trial: Trial, boards: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per further device, measured there or not."""
    measured = [*trial.other_latencies, *[None] * len(boards)]
    pairs = zip(boards, measured, strict=False)
    return [{"device": board, **_latency_values(taken)} for board, taken in pairs]


def _bounds(value: Any) -> Any:
    return [value["low"], value["high"]] if isinstance(value, dict) else value


def _is_on_front(trial: Trial, front: Sequence[Trial]) -> bool | None:
    known = trial.latency is not None and trial.validation_accuracy is not None
    return trial in front if known else None


def _speedup(trial: Trial, unpruned: Trial | None) -> float | None:
    if trial.latency is None or unpruned is None or unpruned.latency is None or trial.latency.p50_ms <= 0:
        return None
    if trial.latency.device_fingerprint != unpruned.latency.device_fingerprint:
        return None  # of two devices, or of one that changed: the quotient means nothing
    return unpruned.latency.p50_ms / trial.latency.p50_ms


def _within(trial: Trial, budget_ms: float | None) -> bool | None:
    if budget_ms is None or trial.latency is None:
        return None
    return trial.latency.p50_ms <= budget_ms


def _less(value: int, whole: int | None) -> float | None:
    return 1 - value / whole if whole else None
