"""Parts of the page that show the kept models: the picture, the table, the chosen one in a few figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from host.family import Family, Trial
from host.report import text
from host.report.columns import Column, columns_of, pruned_name
from host.report.html import Html, element, joined, table, table_cell
from host.report.images import responsive
from host.report.names import is_budgeted, stage_label
from host.report.pareto import pareto_png
from host.report.pareto_style import NARROW, WIDE, Layout, Palette
from host.report.rows import family_rows

__all__ = ["models_table", "picture", "summary"]


def summary(family: Family, budget_ms: float | None, chosen: Trial | None) -> Html:
    """The chosen model in a few figures, or how many fit the budget; nothing without either."""
    rows = family_rows(family, budget_ms=budget_ms, chosen=chosen)
    row = next((row for row in rows if row["chosen"]), None)
    if row is not None:
        return joined((element("h2", "Chosen model"), _tiles(row, columns_of(family), budget_ms)))
    if budget_ms is None:
        return Html()
    fitting = sum(row["within_budget"] is True for row in rows)
    return element("p", f"{fitting} of {len(rows)} models take at most {text.budget(budget_ms)} (p50).")


def picture(family: Family, budget_ms: float | None, chosen: Trial | None) -> Html:
    """The plot, with words for those who cannot see it."""

    def png(palette: Palette, layout: Layout) -> bytes:
        return pareto_png(family, budget_ms=budget_ms, chosen=chosen, palette=palette, layout=layout)

    return responsive(png, WIDE, NARROW, _alternative(family, budget_ms), _caption(family))


def models_table(family: Family, budget_ms: float | None, chosen: Trial | None) -> Html:
    """The kept models, the unpruned one first."""
    columns = columns_of(family)
    rows = family_rows(family, budget_ms=budget_ms, chosen=chosen)
    limit = "" if budget_ms is None else f" Models over the budget of {text.budget(budget_ms)} are grey."
    asked = "pruning rate and per budget" if _has_budgets(family) else "pruning rate"
    kept = f"One model was kept per {asked}. Below each latency: its interval."
    headers = [column.long for column in columns]
    content = (_model_row(row, columns) for row in rows)
    return table(f"{kept}{limit}", headers, content, class_="models")


_PICTURE_CAPTION = (
    "Left is faster, up is more accurate. The step line is the Pareto front: the best validation accuracy of "
    "all trials within each latency; trials that give something away against another are faint. Diamonds are "
    "test accuracy, looked at once for the kept models. Bars are the interval of the measured median. "
)
_RATES_ONLY = "Labels give the share of operators pruned."
_WITH_BUDGETS = (
    "Labels say what was asked: a share of operators to prune, or a budget. Triangles were planned for a "
    "latency budget; a dotted line stands at each."
)


def _caption(family: Family) -> str:
    return _PICTURE_CAPTION + (_WITH_BUDGETS if _has_budgets(family) else _RATES_ONLY)


def _has_budgets(family: Family) -> bool:
    return any(is_budgeted(trial.stage) for trial in family.trials)


def _tiles(row: dict[str, Any], columns: Sequence[Column], budget_ms: float | None) -> Html:
    cells = {column.long: column.cell(row) for column in columns}
    kept, parameters = cells["Operators kept"], cells["Parameters"]
    p50 = text.milliseconds(row["p50_ms"])
    tiles = (
        ("Operators pruned", pruned_name(row), f"{kept.value} {kept.detail} kept"),
        ("Latency p50", p50 if row["p50_ms"] is None else f"{p50} ms", _budget_words(row, budget_ms)),
        ("Speedup", cells["Speedup (p50)"].value, "against unpruned"),
        ("Test accuracy", text.accuracy(row["test_accuracy"]), _validation_words(row)),
        ("Parameters", parameters.value, parameters.detail),
    )
    return element("dl", *(_tile(*tile) for tile in tiles), class_="tiles")


def _tile(name: str, value: str, detail: str) -> Html:
    small = element("small", detail) if detail else ""
    return element("div", element("dt", name), element("dd", value, small))


def _budget_words(row: dict[str, Any], budget_ms: float | None) -> str:
    if budget_ms is not None:
        return f"budget {text.budget(budget_ms)}"
    return "" if row["budget_ms"] is None else f"planned for {text.significant(row['budget_ms'])} ms"


def _validation_words(row: dict[str, Any]) -> str:
    return f"validation {text.accuracy(row['validation_accuracy'])}"


def _alternative(family: Family, budget_ms: float | None) -> str:
    """The picture in words, for those who cannot see it."""
    models = (
        f"{stage_label(row['stage'], row['rate'])}: {text.accuracy(row['validation_accuracy'])} at "
        f"{text.milliseconds(row['p50_ms'])} ms{', on the Pareto front' if row['on_front'] else ''}"
        for row in family_rows(family)
    )
    budget = "" if budget_ms is None else f" The budget is {text.budget(budget_ms)}."
    return f"Plot of validation accuracy against p50 latency. {'; '.join(models)}.{budget}"


def _model_row(row: dict[str, Any], columns: Sequence[Column]) -> Html:
    first, *others = (column.cell(row) for column in columns)
    style = "chosen" if row["chosen"] else "over" if row["within_budget"] is False else None
    cells = (table_cell("td", cell.value, cell.detail) for cell in others)
    heading = table_cell("th", first.value, first.detail, scope="row")
    return element("tr", heading, *cells, class_=style)
