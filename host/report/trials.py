"""Every trial of a search as a table, closed until it is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from host.family import Family, Latency, Trial
from host.report import text
from host.report.columns import Cell
from host.report.front import pareto_front
from host.report.html import Html, element, table, table_cell
from host.report.names import device_names, trial_name

__all__ = ["all_trials"]


@dataclass(frozen=True)
class _Column:
    header: str
    cell: Callable[[Trial], Cell]


def all_trials(family: Family) -> Html:
    """Every trial in the order they ran."""
    caption = "Every trial in the order they ran. Candidates of one structure share one measurement."
    columns = _columns(family)
    rows = (row for trial in family.trials for row in (_row(trial, columns), _problem(trial, columns)))
    content = table(caption, ["Trial", *(column.header for column in columns)], rows, class_="trials")
    return element("details", element("summary", f"All {len(family.trials)} trials"), content)


def _columns(family: Family) -> list[_Column]:
    front = pareto_front(family.trials)
    planned = any(trial.predicted_ms is not None for trial in family.trials)
    names = device_names(family)
    main = "Latency p50 (ms)" if len(names) == 1 else f"p50 (ms), {names[0]}"
    return [
        _Column("Kept", lambda trial: Cell("kept" if trial.kept else "")),
        _Column("Pareto front", lambda trial: Cell("on it" if trial in front else "")),
        _Column("Validation accuracy (%)", lambda trial: Cell(text.percent(trial.validation_accuracy))),
        *([_Column("Predicted p50 (ms)", _predicted)] if planned else []),
        _Column(main, lambda trial: _p50(trial.latency)),
        *(_other_device(name, number) for number, name in enumerate(names[1:])),
        _Column("Timed runs", lambda trial: _of(trial.latency, lambda taken: text.count(taken.iterations))),
        _Column("Stopped by", lambda trial: _of(trial.latency, lambda taken: taken.stopped_by)),
        _Column("Parameters", lambda trial: Cell(text.count(trial.parameters))),
        _Column("MACs", lambda trial: Cell(text.si(trial.macs))),
        _Column("Seconds", lambda trial: Cell(f"{trial.seconds:.1f}")),
    ]


def _other_device(name: str, number: int) -> _Column:
    def cell(trial: Trial) -> Cell:
        return _p50(trial.other_latencies[number] if number < len(trial.other_latencies) else None)

    return _Column(f"p50 (ms), {name}", cell)


def _predicted(trial: Trial) -> Cell:
    return Cell(text.milliseconds(trial.predicted_ms))


def _p50(taken: Latency | None) -> Cell:
    if taken is None:
        return Cell(text.MISSING)
    bounds = taken.p50_interval_ms
    mark = "*" if taken.disturbed else ""
    return Cell(
        text.milliseconds(taken.p50_ms) + mark, text.interval(taken.p50_ms, (bounds.low, bounds.high))
    )


def _of(taken: Latency | None, words: Callable[[Latency], str]) -> Cell:
    return Cell(text.MISSING if taken is None else words(taken))


def _row(trial: Trial, columns: list[_Column]) -> Html:
    cells = (column.cell(trial) for column in columns)
    shown = (table_cell("td", cell.value, cell.detail) for cell in cells)
    return element("tr", element("th", trial_name(trial), scope="row"), *shown)


def _problem(trial: Trial, columns: list[_Column]) -> Html:
    if not trial.error:
        return Html()
    return element("tr", element("td", trial.error, colspan=len(columns) + 1, class_="words bad"))
