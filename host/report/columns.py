"""The columns of the table of models: what each shows of a row of `family_rows`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from host.family import Family
from host.report import text
from host.report.names import device_names, is_budgeted, share_name, stage_label

__all__ = ["Cell", "Column", "columns_of", "pruned_name"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """What a cell says, and a smaller second line."""

    value: str
    detail: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its header where space is short, and where it is not; what it says of a row.

    `spare` columns are left out where there is no room, 1 first; 0 never is.
    """

    short: str
    long: str
    cell: Callable[[Row], Cell]
    spare: int = 0


def columns_of(family: Family) -> tuple[Column, ...]:
    """The columns for this family: with one p50 per device, and energy where any trial has it."""
    energy = any(t.latency is not None and t.latency.energy_mj is not None for t in family.trials)
    return (
        Column("Pruned", "Pruned", _name),
        Column("Kept", "Operators kept", _kept),
        Column(
            "Valid.\n%", "Validation accuracy (%)", lambda row: Cell(text.percent(row["validation_accuracy"]))
        ),
        Column("Test\n%", "Test accuracy (%)", lambda row: Cell(text.percent(row["test_accuracy"]))),
        *_p50_columns(family),
        Column("p95\nms", "Latency p95 (ms)", partial(_latency, name="p95"), spare=2),
        *([Column("Energy\nmJ", "Energy (mJ)", _energy)] if energy else []),
        Column("Speedup", "Speedup (p50)", lambda row: Cell(text.speedup(row["speedup"]))),
        Column("Params", "Parameters", partial(_size, name="parameters", written=text.count), spare=3),
        Column("MACs", "MACs", partial(_size, name="macs", written=text.si), spare=1),
    )


def pruned_name(row: Row) -> str:
    """The share of operators pruned, as a row's stage asked for it or came to it."""
    return share_name(row["stage"], row["rate"])


def _p50_columns(family: Family) -> list[Column]:
    if not family.other_devices:
        return [Column("p50\nms", "Latency p50 (ms)", partial(_latency, name="p50"))]
    first, *others = device_names(family)
    columns = [Column(f"p50 ms\n{_short(first)}", f"p50 (ms), {first}", partial(_latency, name="p50"))]
    for number, name in enumerate(others):
        cell = partial(_other_latency, number=number)
        columns.append(Column(f"p50 ms\n{_short(name)}", f"p50 (ms), {name}", cell))
    return columns


def _short(name: str) -> str:
    return name if len(name) <= 10 else f"{name[:9]}."


def _name(row: Row) -> Cell:
    share = pruned_name(row)
    if not is_budgeted(row["stage"]):
        return Cell(share, "chosen" if row["chosen"] else "unpruned" if row["rate"] == 0 else "")
    label = stage_label(row["stage"], row["rate"])
    return Cell(label, f"chosen, {share}" if row["chosen"] else f"{share} pruned")


def _kept(row: Row) -> Cell:
    return Cell(text.count(row["kept_operators"]), f"of {text.count(row['operators'])}")


def _latency(row: Row, name: str) -> Cell:
    return _timed(row, name, row["error"])


def _other_latency(row: Row, number: int) -> Cell:
    measured = row["other_devices"][number]
    return _timed(measured, "p50", row["error"])


def _timed(measured: Row, name: str, error: str | None) -> Cell:
    value_ms = measured[f"{name}_ms"]
    if value_ms is None:
        return Cell(text.MISSING, "failed" if error else "")
    mark = "*" if measured["disturbed"] else ""
    return Cell(text.milliseconds(value_ms) + mark, text.interval(value_ms, measured[f"{name}_interval_ms"]))


def _energy(row: Row) -> Cell:
    return Cell(text.milliseconds(row["energy_mj"]))


def _size(row: Row, name: str, written: Callable[[int], str]) -> Cell:
    return Cell(written(row[name]), text.change(row[f"{name}_less"]))
