"""Parts of the page that show results: the picture, the tables of models and trials, the heat map."""

from __future__ import annotations

import base64
from typing import Any

from host.family import Family, Trial
from host.report import text
from host.report.html import Html, element, joined, table
from host.report.pareto import pareto_png
from host.report.pareto_style import DARK, DPI, LIGHT, NARROW, WIDE, Layout, Palette
from host.report.rows import COLUMNS, Cell, family_rows, kept_trials, model_cells, trial_name

__all__ = ["all_trials", "heat_map", "models_table", "picture", "summary"]


def summary(family: Family, budget_ms: float | None, chosen: Trial | None) -> Html:
    """The chosen model in a few figures, or how many fit the budget; nothing without either."""
    rows = family_rows(family, budget_ms=budget_ms, chosen=chosen)
    row = next((row for row in rows if row["chosen"]), None)
    if row is not None:
        return joined((element("h2", "Chosen model"), _tiles(row, budget_ms)))
    if budget_ms is None:
        return Html()
    fitting = sum(row["within_budget"] is True for row in rows)
    return element("p", f"{fitting} of {len(rows)} models take at most {text.budget(budget_ms)} (p50).")


def picture(family: Family, budget_ms: float | None, chosen: Trial | None) -> Html:
    """The plot in four renderings: the browser takes the one for its colour scheme and width."""
    narrow, dark = "(max-width: 600px)", "(prefers-color-scheme: dark)"

    def image(palette: Palette, layout: Layout) -> str:
        png = pareto_png(family, budget_ms=budget_ms, chosen=chosen, palette=palette, layout=layout)
        return f"data:image/png;base64,{base64.b64encode(png).decode()}"

    return element(
        "figure",
        element(
            "picture",
            element("source", media=f"{narrow} and {dark}", srcset=image(DARK, NARROW)),
            element("source", media=narrow, srcset=image(LIGHT, NARROW)),
            element("source", media=dark, srcset=image(DARK, WIDE)),
            element("img", src=image(LIGHT, WIDE), alt=_alternative(family, budget_ms), **_pixels(WIDE)),
        ),
        element("figcaption", _PICTURE_CAPTION),
    )


def models_table(family: Family, budget_ms: float | None, chosen: Trial | None) -> Html:
    """The kept models, the unpruned one first."""
    rows = family_rows(family, budget_ms=budget_ms, chosen=chosen)
    limit = "" if budget_ms is None else f" Models over the budget of {text.budget(budget_ms)} are grey."
    caption = f"One model was kept per pruning rate. Below each latency: its interval.{limit}"
    headers = [column.long for column in COLUMNS]
    return table(caption, headers, map(_model_row, rows), class_="models")


def all_trials(family: Family) -> Html:
    """Every trial in the order they ran, closed until it is opened."""
    caption = "Every trial in the order they ran. Candidates of one structure share one measurement."
    rows = (row for trial in family.trials for row in (_trial_row(trial), _problem_row(trial)))
    content = table(caption, _TRIAL_HEADERS, rows, class_="trials")
    return element("details", element("summary", f"All {len(family.trials)} trials"), content)


def heat_map(family: Family) -> Html:
    """Kept operators per layer and kept model, as numbers on a shade of their share."""
    trials = kept_trials(family)
    channels = max((max(trial.plan.num_channels) for trial in trials), default=0)
    layers = max((len(trial.plan.kept) for trial in trials), default=0)
    headers = ["Layer", *("unpruned" if t.rate == 0 else f"{text.rate_name(t.rate)} pruned" for t in trials)]
    caption = f"Operators kept of {channels} in each layer; layer 0 is next to the input."
    return table(caption, headers, (_heat_row(trials, layer) for layer in range(layers)), class_="heat")


_TRIAL_HEADERS = (
    "Trial",
    "Kept",
    "Validation accuracy (%)",
    "Latency p50 (ms)",
    "Timed runs",
    "Stopped by",
    "Parameters",
    "MACs",
    "Seconds",
)
_PICTURE_CAPTION = (
    "Left is faster, up is more accurate. Filled marks are validation accuracy, by which candidates were "
    "picked; diamonds are test accuracy, looked at once for the kept models. Labels give the share of "
    "operators pruned; bars are the interval of the measured median."
)


def _tiles(row: dict[str, Any], budget_ms: float | None) -> Html:
    cells = dict(zip((column.long for column in COLUMNS), model_cells(row), strict=True))
    kept, parameters = cells["Operators kept"], cells["Parameters"]
    p50 = cells["Latency p50 (ms)"].value
    tiles = (
        ("Operators pruned", text.rate_name(row["rate"]), f"{kept.value} {kept.detail} kept"),
        ("Latency p50", p50 if row["p50_ms"] is None else f"{p50} ms", _budget_words(budget_ms)),
        ("Speedup", cells["Speedup (p50)"].value, "against unpruned"),
        ("Test accuracy", text.accuracy(row["test_accuracy"]), _validation_words(row)),
        ("Parameters", parameters.value, parameters.detail),
    )
    return element("dl", *(_tile(*tile) for tile in tiles), class_="tiles")


def _tile(name: str, value: str, detail: str) -> Html:
    small = element("small", detail) if detail else ""
    return element("div", element("dt", name), element("dd", value, small))


def _budget_words(budget_ms: float | None) -> str:
    return "" if budget_ms is None else f"budget {text.budget(budget_ms)}"


def _validation_words(row: dict[str, Any]) -> str:
    return f"validation {text.accuracy(row['validation_accuracy'])}"


def _pixels(layout: Layout) -> dict[str, int]:
    return {"width": round(layout.width * DPI), "height": round(layout.height * DPI)}


def _alternative(family: Family, budget_ms: float | None) -> str:
    """The picture in words, for those who cannot see it."""
    models = (
        f"{'unpruned' if row['rate'] == 0 else text.rate_name(row['rate']) + ' pruned'}: "
        f"{text.accuracy(row['validation_accuracy'])} at {text.milliseconds(row['p50_ms'])} ms"
        for row in family_rows(family)
    )
    budget = "" if budget_ms is None else f" The budget is {text.budget(budget_ms)}."
    return f"Plot of validation accuracy against p50 latency. {'; '.join(models)}.{budget}"


def _model_row(row: dict[str, Any]) -> Html:
    first, *others = model_cells(row)
    style = "chosen" if row["chosen"] else "over" if row["within_budget"] is False else None
    cells = (_cell("td", cell) for cell in others)
    return element("tr", _cell("th", first, scope="row"), *cells, class_=style)


def _cell(tag: str, cell: Cell, **attributes: object) -> Html:
    return element(tag, cell.value, element("small", cell.detail) if cell.detail else "", **attributes)


def _trial_row(trial: Trial) -> Html:
    p50 = trial.latency
    bounds = None if p50 is None else (p50.p50_interval_ms.low, p50.p50_interval_ms.high)
    value = None if p50 is None else p50.p50_ms
    return element(
        "tr",
        element("th", trial_name(trial), scope="row"),
        element("td", "kept" if trial.kept else ""),
        element("td", text.percent(trial.validation_accuracy)),
        _cell("td", Cell(text.milliseconds(value), text.interval(value, bounds))),
        element("td", text.MISSING if p50 is None else text.count(p50.iterations)),
        element("td", text.MISSING if p50 is None else p50.stopped_by),
        element("td", text.count(trial.parameters)),
        element("td", text.si(trial.macs)),
        element("td", f"{trial.seconds:.1f}"),
    )


def _problem_row(trial: Trial) -> Html:
    if not trial.error:
        return Html()
    return element("tr", element("td", trial.error, colspan=len(_TRIAL_HEADERS), class_="words bad"))


def _heat_row(trials: list[Trial], layer: int) -> Html:
    cells = (_heat_cell(trial, layer) for trial in trials)
    return element("tr", element("th", f"Layer {layer}", scope="row"), *cells)


def _heat_cell(trial: Trial, layer: int) -> Html:
    kept = len(trial.plan.kept[layer]) if layer < len(trial.plan.kept) else 0
    return element("td", kept, style=f"--share: {kept / trial.plan.num_channels[layer]:.3f}")
