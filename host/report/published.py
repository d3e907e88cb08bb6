"""This family beside the published figures: changes against each one's own unpruned model."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from host.family import Family, Trial
from host.report import text
from host.report.headings import stage_heading
from host.report.html import Html, element, joined, table, table_cell
from host.report.names import is_unpruned
from host.report.published_data import PUBLISHED_CSV
from host.report.rows import kept_trials

__all__ = ["Figures", "nearest_rate", "published_figures", "published_section"]

_WARNING = (
    "Datasets, model sizes and devices differ, so the figures themselves do not compare. Set side by side "
    "are only changes, each against its own unpruned model: this family's as measured here, the published "
    "ones (S4oP, arXiv 2606.18096) as the authors measured them, in eager PyTorch on their machine. Each "
    "column stands beside the published pruning rate nearest to it."
)


@dataclass(frozen=True)
class Figures:
    """One published model; changes are against the unpruned model of the same dataset.

    rate and accuracy_pct in percent, accuracy_change in percentage points, reductions in percent.
    """

    model: str
    dataset: str
    allocation: str
    rate_pct: int
    accuracy_pct: float
    accuracy_change: float
    latency_reduction_pct: float
    param_reduction_pct: float


@cache
def published_figures(model_kind: str) -> tuple[Figures, ...]:
    """The published pruned models of a kind ("s4d" or "s4"), in the source's order; none of other kinds."""
    rows = [row for row in csv.DictReader(io.StringIO(PUBLISHED_CSV)) if row["model"] == model_kind]
    whole = {row["dataset"]: float(row["accuracy_pct"]) for row in rows if row["allocation"] == "none"}
    return tuple(_figures(row, whole[row["dataset"]]) for row in rows if row["allocation"] != "none")


def nearest_rate(rate: float, figures: Sequence[Figures]) -> int:
    """The published rate (percent) nearest to a pruned share; of two equally near the lower."""
    rates = sorted({each.rate_pct for each in figures})
    return min(rates, key=lambda rate_pct: round(abs(rate_pct - 100 * rate), 9))


def published_section(family: Family) -> Html:
    """Three tables: accuracy, latency and parameters; nothing for a kind without published figures."""
    figures = published_figures(family.model_kind)
    kept = kept_trials(family)
    whole = next(filter(is_unpruned, kept), None)
    trials = [trial for trial in kept if not is_unpruned(trial)]
    if not figures or whole is None or not trials:
        return Html()
    tables = (_table(measure, family, whole, trials, figures) for measure in _MEASURES)
    return joined([element("p", _WARNING, class_="note"), *tables])


@dataclass(frozen=True)
class _Measure:
    caption: str
    ours: Callable[[Trial, Trial], float | None]
    theirs: Callable[[Figures], float]
    written: Callable[[float | None], str]


def _table(
    measure: _Measure, family: Family, whole: Trial, trials: Sequence[Trial], figures: Sequence[Figures]
) -> Html:
    own = (element("td", measure.written(measure.ours(trial, whole))) for trial in trials)
    heading = table_cell("th", "This family", family.dataset, scope="row")
    rows = [element("tr", heading, *own, class_="own")]
    rates = [nearest_rate(trial.rate, figures) for trial in trials]
    for dataset, allocation in _sources(family, figures):
        found = {f.rate_pct: f for f in figures if (f.dataset, f.allocation) == (dataset, allocation)}
        cells = (element("td", measure.written(measure.theirs(found[rate]))) for rate in rates)
        heading = table_cell("th", f"Published, {dataset}", f"{allocation} allocation", scope="row")
        rows.append(element("tr", heading, *cells))
    headers = ["", *(_header(trial, rate) for trial, rate in zip(trials, rates, strict=True))]
    return table(measure.caption, headers, rows, class_="published")


def _sources(family: Family, figures: Sequence[Figures]) -> list[tuple[str, str]]:
    """Datasets and allocations in the source's order, those of the family's own dataset first."""
    sources = dict.fromkeys((each.dataset, each.allocation) for each in figures)
    return sorted(sources, key=lambda source: source[0] not in family.dataset.lower())


def _header(trial: Trial, rate_pct: int) -> Html:
    differs = abs(rate_pct - 100 * trial.rate) > 1e-6
    return stage_heading(trial, *([f"beside {rate_pct} %"] if differs else []))


def _figures(row: dict[str, str], unpruned_pct: float) -> Figures:
    return Figures(
        model=row["model"],
        dataset=row["dataset"],
        allocation=row["allocation"],
        rate_pct=int(row["rate_pct"]),
        accuracy_pct=float(row["accuracy_pct"]),
        accuracy_change=float(row["accuracy_pct"]) - unpruned_pct,
        latency_reduction_pct=float(row["latency_reduction_pct"]),
        param_reduction_pct=float(row["param_reduction_pct"]),
    )


def _accuracy_change(trial: Trial, whole: Trial) -> float | None:
    if trial.test_accuracy is None or whole.test_accuracy is None:
        return None
    return 100 * (trial.test_accuracy - whole.test_accuracy)


def _latency_reduction(trial: Trial, whole: Trial) -> float | None:
    if trial.latency is None or whole.latency is None or whole.latency.p50_ms <= 0:
        return None
    return 100 * (1 - trial.latency.p50_ms / whole.latency.p50_ms)


def _parameter_reduction(trial: Trial, whole: Trial) -> float | None:
    return 100 * (1 - trial.parameters / whole.parameters) if whole.parameters else None


def _plain(value: float | None) -> str:
    return text.MISSING if value is None else f"{value:.1f}"


_MEASURES = (
    _Measure(
        "Test accuracy: change in percentage points",
        _accuracy_change,
        lambda figures: figures.accuracy_change,
        text.signed,
    ),
    _Measure(
        "Latency: reduction in %", _latency_reduction, lambda figures: figures.latency_reduction_pct, _plain
    ),
    _Measure(
        "Parameters: reduction in %",
        _parameter_reduction,
        lambda figures: figures.param_reduction_pct,
        _plain,
    ),
)
