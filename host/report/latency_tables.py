"""Tables of a latency model: what each layer adds, and predictions against measurements."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from host.family import Family, Trial
from host.latency.model import LatencyModel, LayerCurve
from host.report import text
from host.report.html import Html, element, table, table_cell
from host.report.names import trial_name

__all__ = ["cliff_counts", "layers_table", "observations_table", "plans_table"]

_SHOWN = 8  # rows of a table that is not folded away


def cliff_counts(curve: LayerCurve) -> str:
    """The cliffs of a curve, or "none"."""
    return ", ".join(map(str, curve.cliffs)) or "none"


def layers_table(model: LatencyModel, numbers: Mapping[str, int]) -> Html:
    """Which curve each layer follows (curves by their number on the page), and what it adds."""
    rows = [
        element(
            "tr",
            element("th", f"Layer {layer}", scope="row"),
            element("td", f"curve {numbers[name]}"),
            element("td", cliff_counts(model.curves[name])),
            table_cell("td", text.milliseconds(float(model.layer_ms(layer)[1]))),
            table_cell("td", text.milliseconds(float(model.layer_ms(layer)[-1]))),
        )
        for layer, name in enumerate(model.layers)
    ]
    headers = ["Layer", "Curve", "Cliffs after", "Adds with 1 operator (ms)", "Adds with all (ms)"]
    caption = (
        f"What each layer adds, scaled; the base is {text.milliseconds(model.base_ms)} ms, the scale "
        f"{model.scale:.3f}. Backend {model.settings.backend or 'of the device'}, "
        f"threads {model.settings.threads}, batch {model.settings.batch}."
    )
    return table(caption, headers, rows, class_="layers")


def observations_table(model: LatencyModel) -> Html:
    """Whole models, predicted and measured; folded away where there are many."""
    seen = model.observations
    pairs = [(each.kept_counts, model.predict_ms(each.kept_counts), each.p50_ms) for each in seen]
    rows = [
        element(
            "tr",
            element("th", ", ".join(map(str, kept)), scope="row"),
            element("td", text.milliseconds(predicted_ms)),
            element("td", text.milliseconds(measured_ms)),
            element("td", _error_percent(predicted_ms, measured_ms)),
        )
        for kept, predicted_ms, measured_ms in pairs
    ]
    headers = ["Operators kept, layer by layer", "Predicted (ms)", "Measured (ms)", "Error (%)"]
    caption = (
        "Whole models, in the order they were measured: what the latency model says now (it is fitted to "
        f"meet the last one) against what was measured end to end. {_summary(pairs)}"
    )
    content = table(caption, headers, rows, class_="predictions")
    if len(rows) <= _SHOWN:
        return content
    return element("details", element("summary", f"All {len(rows)} whole models measured"), content)


def _summary(pairs: Sequence[tuple[tuple[int, ...], float, float]]) -> str:
    errors = [abs(predicted / measured - 1) for _, predicted, measured in pairs if measured > 0]
    if not errors:
        return ""
    median, largest = 100 * statistics.median(errors), 100 * max(errors)
    return f"Relative error: median {median:.1f} %, largest {largest:.1f} %."


def _error_percent(predicted_ms: float, measured_ms: float) -> str:
    return text.signed(100 * (predicted_ms / measured_ms - 1)) if measured_ms > 0 else text.MISSING


def plans_table(family: Family) -> Html:
    """What was said of the plans for a budget before they were measured: the harder test."""
    trials = [trial for trial in family.trials if trial.predicted_ms is not None]
    if not trials:
        return Html()
    caption = "Plans for a budget: what was predicted before each was measured."
    headers = ["Plan", "Budget (ms)", "Predicted (ms)", "Measured p50 (ms)", "Error (%)"]
    return table(caption, headers, map(_plan_row, trials), class_="predictions")


def _plan_row(trial: Trial) -> Html:
    predicted_ms, taken = trial.predicted_ms or 0.0, trial.latency
    budget = text.MISSING if trial.budget_ms is None else text.significant(trial.budget_ms)
    if taken is None:
        measured, interval, error = text.MISSING, "", text.MISSING
    else:
        bounds = taken.p50_interval_ms.low, taken.p50_interval_ms.high
        measured, interval = text.milliseconds(taken.p50_ms), text.interval(taken.p50_ms, bounds)
        error = _error_percent(predicted_ms, taken.p50_ms)
    return element(
        "tr",
        element("th", trial_name(trial), scope="row"),
        element("td", budget),
        element("td", text.milliseconds(predicted_ms)),
        table_cell("td", measured, interval),
        element("td", error),
    )
