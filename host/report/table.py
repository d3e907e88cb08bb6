"""The kept models of a family as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from host.family import Family, Trial
from host.report import text
from host.report.columns import Cell, Column, columns_of
from host.report.comparability import device_differences, strangers
from host.report.rows import disturbances, family_rows, problems

__all__ = ["family_rows", "family_table"]

_WIDTH = 80


def family_table(family: Family, *, budget_ms: float | None = None, chosen: Trial | None = None) -> Table:
    """One row per kept model, the unpruned one first; `chosen` is marked, models over budget are dim.

    Fits in 80 columns, if need be without MACs, p95 and parameters: a second line in a cell holds the
    interval, or the change against the unpruned model. Below the table stands what went wrong in any trial,
    what disturbed a measurement, and which latencies do not compare.
    """
    rows = family_rows(family, budget_ms=budget_ms, chosen=chosen)
    columns = _fitting(columns_of(family), rows)
    table = Table(
        title=Text(f"{family.model_kind.upper()} on {family.dataset}, {family.device.board}"),
        caption=_caption(family, budget_ms),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=0,
        show_edge=False,
    )
    for number, column in enumerate(columns):
        table.add_column(column.short, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(column.cell(row)) for column in columns), style=_style(row))
    return table


def _fitting(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> list[Column]:
    """The columns without the spare ones that do not fit."""
    shown = list(columns)
    for spare in sorted((column for column in columns if column.spare), key=lambda column: column.spare):
        if sum(_width(column, rows) + 1 for column in shown) <= _WIDTH:
            break
        shown.remove(spare)
    return shown


def _width(column: Column, rows: Sequence[dict[str, Any]]) -> int:
    cells = [column.cell(row) for row in rows]
    lines = [*column.short.split("\n"), *(line for cell in cells for line in (cell.value, cell.detail))]
    return max(map(len, lines))


def _cell(cell: Cell) -> Text:
    shown = Text(cell.value)
    return shown.append(f"\n{cell.detail}", style="dim") if cell.detail else shown


def _style(row: dict[str, Any]) -> str:
    if row["chosen"]:
        return "bold green"
    return "dim" if row["within_budget"] is False else ""


def _caption(family: Family, budget_ms: float | None) -> Text | None:
    lines = [] if budget_ms is None else [_budget_line(family, budget_ms)]
    lines += [*problems(family.trials), *disturbances(family, family.kept())]
    lines += [*strangers(family), *device_differences(family)]
    return Text("\n".join(lines), style="") if lines else None


def _budget_line(family: Family, budget_ms: float) -> str:
    rows = family_rows(family, budget_ms=budget_ms)
    fitting = sum(row["within_budget"] is True for row in rows)
    return f"budget {text.budget(budget_ms)}: {fitting} of {len(rows)} models fit (p50)"
