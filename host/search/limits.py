"""What a budget comes to on each device of a search, and how much of it a measurement spends."""

from __future__ import annotations

from dataclasses import dataclass

from edge_s4op.errors import MeasurementError, UsageError
from edge_s4op.messages import Interval, MeasurementResult
from host.measuring import Measurement
from host.models.checkpoint import load_checkpoint
from host.pruning.schedules import UNPRUNED
from host.search.context import Search
from host.search.fleet import Kind
from host.search.measuring import measure_models
from host.search.options import Budget
from host.search.progress import SearchProgress

__all__ = ["Limit", "limits_of", "spent"]


@dataclass(frozen=True)
class Limit:
    """At most `value` (`unit`: ms, or mJ) an inference on the device `board`; plans first aim at some ms."""

    value: float
    unit: str
    board: str
    first_aim_ms: float


def limits_of(search: Search, budget: Budget) -> tuple[Limit, ...]:
    """One limit per kind of device; a ratio is of that device's own unpruned p50.

    Raises MeasurementError where the unpruned model could not be measured, UsageError for an energy budget
    on a board that reports no power.
    """
    model, _ = load_checkpoint(search.checkpoint_dir)
    at = SearchProgress(UNPRUNED, 0.0, None, 1, 1, "export")
    (measured,) = measure_models(search, [(model, at)])
    kinds = search.fleet.kinds
    return tuple(_limit(budget, kind, m) for kind, m in zip(kinds, measured, strict=True))


def spent(measurement: Measurement, limit: Limit) -> Interval:
    """The interval of what an inference took, in the limit's unit."""
    result = _result(measurement, limit.board)
    return result.latency_ms.median_interval if limit.unit == "ms" else _energy(result, limit.board)


def _limit(budget: Budget, kind: Kind, unpruned: Measurement) -> Limit:
    board, result = kind.device.board, _result(unpruned, kind.device.board)
    p50_ms = result.latency_ms.median
    room = 1 - kind.settings.precision / 2  # for the half of the interval that lies above the median
    if budget.quantity == "energy_mj":
        whole_mj = _energy(result, board).high
        if whole_mj <= 0:
            raise UsageError(
                f"an energy budget cannot be held: on {board} an inference takes no more than idling",
                expected="a measurable energy of the unpruned model",
                found=f"at most {whole_mj:.3g} mJ",
                fix="let the board settle and search again, or give a latency budget",
            )
        return Limit(budget.value, "mJ", board, min(1.0, budget.value / whole_mj) * p50_ms * room)
    value = budget.value * p50_ms if budget.quantity == "latency_ratio" else budget.value
    return Limit(value, "ms", board, value * room)


def _energy(result: MeasurementResult, board: str) -> Interval:
    if result.energy is None:
        raise UsageError(
            f"an energy budget cannot be held: {board} reports no power",
            expected="a board with a power sensor that the agent may read (docs/measuring.md)",
            fix="give a latency budget, or see which sensors the agent found",
        )
    return result.energy.interval


def _result(measurement: Measurement, board: str) -> MeasurementResult:
    if measurement.result is None:
        raise MeasurementError(
            f"a budget needs measurements, and {board} made none: {measurement.error}",
            fix="repair the device's measurements and resume",
        )
    return measurement.result
