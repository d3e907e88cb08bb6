"""The kept models of a family as plain values: what `--json` prints and the tables show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from host.family import Family, Trial
from host.report import text

__all__ = ["COLUMNS", "Cell", "Column", "family_rows", "kept_trials", "model_cells", "problems", "trial_name"]


@dataclass(frozen=True)
class Column:
    """A column of the table of models: its header where space is short, and where it is not."""

    short: str
    long: str


@dataclass(frozen=True)
class Cell:
    """What a cell says, and a smaller second line."""

    value: str
    detail: str = ""


COLUMNS = (
    Column("Pruned", "Pruned"),
    Column("Kept", "Operators kept"),
    Column("Valid.\n%", "Validation accuracy (%)"),
    Column("Test\n%", "Test accuracy (%)"),
    Column("p50\nms", "Latency p50 (ms)"),
    Column("p95\nms", "Latency p95 (ms)"),
    Column("Speedup", "Speedup (p50)"),
    Column("Params", "Parameters"),
    Column("MACs", "MACs"),
)


def kept_trials(family: Family) -> list[Trial]:
    """The kept trials, from unpruned to most pruned."""
    return sorted(family.kept(), key=lambda trial: trial.rate)


def family_rows(
    family: Family, *, budget_ms: float | None = None, chosen: Trial | None = None
) -> list[dict[str, Any]]:
    """One JSON-ready dict per kept model, the unpruned one first.

    Accuracies are fractions of one, latencies ms with [low, high] intervals; `speedup` divides the unpruned
    p50 by this one and `*_less` are fractions of the unpruned model's. What is not known is None, so is
    `within_budget` without a budget.
    """
    trials = kept_trials(family)
    unpruned = next((trial for trial in trials if trial.rate == 0), None)
    return [_row(trial, unpruned, budget_ms, trial == chosen) for trial in trials]


def problems(trials: Sequence[Trial]) -> list[str]:
    """What went wrong, one line per trial with an error."""
    return [f"{trial_name(trial)}: {trial.error}" for trial in trials if trial.error]


def trial_name(trial: Trial) -> str:
    """ "unpruned", or "50 % pruned, seed 42"."""
    if trial.rate == 0:
        return "unpruned"
    return f"{text.rate_name(trial.rate)} pruned" + ("" if trial.seed is None else f", seed {trial.seed}")


def model_cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    """A row of `family_rows` as text, one cell per entry of COLUMNS."""
    mark = "chosen" if row["chosen"] else "unpruned" if row["rate"] == 0 else ""
    return (
        Cell(text.rate_name(row["rate"]), mark),
        Cell(text.count(row["kept_operators"]), f"of {text.count(row['operators'])}"),
        Cell(text.percent(row["validation_accuracy"])),
        Cell(text.percent(row["test_accuracy"])),
        _latency_cell(row, "p50"),
        _latency_cell(row, "p95"),
        Cell(text.speedup(row["speedup"])),
        Cell(text.count(row["parameters"]), text.change(row["parameters_less"])),
        Cell(text.si(row["macs"]), text.change(row["macs_less"])),
    )


def _latency_cell(row: dict[str, Any], name: str) -> Cell:
    value_ms, bounds_ms = row[f"{name}_ms"], row[f"{name}_interval_ms"]
    if value_ms is None:
        return Cell(text.MISSING, "failed" if row["error"] else "")
    return Cell(text.milliseconds(value_ms), text.interval(value_ms, bounds_ms))


def _row(trial: Trial, unpruned: Trial | None, budget_ms: float | None, chosen: bool) -> dict[str, Any]:
    return {
        "model": trial.model,
        "rate": trial.rate,
        "seed": trial.seed,
        "chosen": chosen,
        "kept_operators": sum(trial.plan.kept_counts),
        "operators": sum(trial.plan.num_channels),
        "kept_per_layer": list(trial.plan.kept_counts),
        "validation_accuracy": trial.validation_accuracy,
        "test_accuracy": trial.test_accuracy,
        **_latency_values(trial),
        "speedup": _speedup(trial, unpruned),
        "within_budget": _within(trial, budget_ms),
        "parameters": trial.parameters,
        "parameters_less": _less(trial.parameters, unpruned.parameters if unpruned else None),
        "macs": trial.macs,
        "macs_less": _less(trial.macs, unpruned.macs if unpruned else None),
        "error": trial.error,
    }


def _latency_values(trial: Trial) -> dict[str, Any]:
    names = ("p50_ms", "p50_interval_ms", "p95_ms", "p95_interval_ms")
    if trial.latency is None:
        return dict.fromkeys(names)
    values = trial.latency.model_dump()
    return {name: _bounds(values[name]) for name in names}


def _bounds(value: Any) -> Any:
    return [value["low"], value["high"]] if isinstance(value, dict) else value


def _speedup(trial: Trial, unpruned: Trial | None) -> float | None:
    if trial.latency is None or unpruned is None or unpruned.latency is None or trial.latency.p50_ms <= 0:
        return None
    return unpruned.latency.p50_ms / trial.latency.p50_ms


def _within(trial: Trial, budget_ms: float | None) -> bool | None:
    if budget_ms is None or trial.latency is None:
        return None
    return trial.latency.p50_ms <= budget_ms


def _less(value: int, whole: int | None) -> float | None:
    return 1 - value / whole if whole else None
