"""Accuracy against measured latency, as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from edge_s4op.files import write_bytes
from host.family import Family, Trial
from host.report import text
from host.report.labels import Label, place_labels
from host.report.pareto_frame import draw_budget, draw_frame
from host.report.pareto_style import DPI, LIGHT, WIDE, Layout, Palette
from host.report.points import Point, Points, points_of

__all__ = ["pareto_figure", "pareto_png", "write_pareto"]


def write_pareto(
    family: Family, path: Path, *, budget_ms: float | None = None, chosen: Trial | None = None
) -> None:
    """Write the plot as a PNG, 1800 pixels wide, all or nothing. Raises StorageError."""
    write_bytes(Path(path), pareto_png(family, budget_ms=budget_ms, chosen=chosen))


def pareto_png(
    family: Family,
    *,
    budget_ms: float | None = None,
    chosen: Trial | None = None,
    palette: Palette = LIGHT,
    layout: Layout = WIDE,
) -> bytes:
    """The plot as a PNG; the same bytes for the same family and matplotlib."""
    figure = pareto_figure(family, budget_ms=budget_ms, chosen=chosen, palette=palette, layout=layout)
    content = io.BytesIO()
    figure.savefig(content, format="png", facecolor=palette.background, metadata={"Software": None})
    return content.getvalue()


def pareto_figure(
    family: Family,
    *,
    budget_ms: float | None = None,
    chosen: Trial | None = None,
    palette: Palette = LIGHT,
    layout: Layout = WIDE,
) -> Figure:
    """Accuracy (%) over p50 latency (ms) with its interval.

    Validation accuracy for every candidate, which makes them comparable; test accuracy beside it for the
    kept models, which are joined by a line and labelled by the share of operators pruned. `budget_ms` is a
    vertical line, `chosen` is ringed. Trials without a latency or an accuracy are left out, kept ones named.
    """
    size = (layout.width, layout.height)
    margins = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)
    figure = Figure(size, dpi=DPI, layout=margins, facecolor=palette.background)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = points_of(family)
    draw_frame(axes, family, points, budget_ms, palette, layout)
    _draw_series(axes, points, chosen, palette)
    _draw_legend(figure, axes, palette, layout)
    figure.draw_without_rendering()  # the labels' free places are found in the pixels of the laid-out figure,
    figure.set_layout_engine("none")  # which they must not change
    taken = draw_budget(axes, budget_ms, palette, layout) if points.all else []
    lines = [list(zip(*_validation(points.kept), strict=True))]
    if taken and budget_ms is not None:
        lines.append([(budget_ms, y) for y in axes.get_ylim()])
    place_labels(axes, _labels(points, chosen, palette, layout), _markers(points), lines, taken)
    return figure


def _draw_series(axes: Axes, points: Points, chosen: Trial | None, palette: Palette) -> None:
    kept = [point for point in points.kept if point.validation is not None]
    axes.plot(*_validation(kept), color=palette.validation, linewidth=1.6, alpha=0.55, zorder=3)
    _draw_intervals(axes, kept, palette)
    _scatter(axes, _validation(kept), "kept, validation accuracy", s=75, color=palette.validation, zorder=5)
    unpruned = [point for point in kept if point.trial.rate == 0]
    _scatter(axes, _validation(unpruned), "", s=85, marker="s", color=palette.validation, zorder=5)
    tested = [(point.p50_ms, point.test) for point in points.kept if point.test is not None]
    xy = [p50_ms for p50_ms, _ in tested], [accuracy for _, accuracy in tested]
    hollow = {"facecolors": "none", "edgecolors": palette.test, "linewidths": 2.0}
    _scatter(axes, xy, "kept, test accuracy", s=62, marker="D", zorder=5.5, **hollow)
    faint = {"color": palette.candidate, "linewidths": 0}
    others = _validation(points.others)
    _scatter(axes, others, "other candidates, validation accuracy", s=34, zorder=2, **faint)
    ring = {"facecolors": "none", "edgecolors": palette.chosen, "linewidths": 2.4}
    picked = _validation([point for point in kept if point.trial == chosen])
    _scatter(axes, picked, "chosen model", s=240, zorder=5, **ring)


def _draw_intervals(axes: Axes, kept: Sequence[Point], palette: Palette) -> None:
    below = [point.p50_ms - point.low_ms for point in kept]
    above = [point.high_ms - point.p50_ms for point in kept]
    style: dict[str, Any] = {"color": palette.validation, "elinewidth": 1.6, "capsize": 4, "capthick": 1.6}
    axes.errorbar(*_validation(kept), xerr=[below, above], fmt="none", zorder=4, **style)


def _scatter(axes: Axes, xy: tuple[list[float], list[float]], label: str, **style: Any) -> None:
    """A series, with an entry in the legend if it has points and a label."""
    if xy[0]:
        axes.scatter(*xy, label=label or None, **style)


def _validation(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Latencies and validation accuracies of the points that have one."""
    found = [(point.p50_ms, point.validation) for point in points if point.validation is not None]
    return [p50_ms for p50_ms, _ in found], [accuracy for _, accuracy in found]


def _draw_legend(figure: Figure, axes: Axes, palette: Palette, layout: Layout) -> None:
    handles, names = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=layout.legend_columns,
            fontsize=layout.text_size - 0.5,
            labelcolor=palette.ink,
            frameon=False,
            columnspacing=2.5,
            borderpad=0,
            borderaxespad=0.9,
        )


def _labels(points: Points, chosen: Trial | None, palette: Palette, layout: Layout) -> list[Label]:
    """One per kept model, at the higher of its two accuracies."""
    labels = []
    for point in points.kept:
        pruned = text.rate_name(point.trial.rate) + layout.label_end
        words = pruned if point.trial.rate else "unpruned"
        color = palette.chosen if point.trial == chosen else palette.ink
        labels.append(Label(words, point.p50_ms, max(point.accuracies), color, layout.text_size))
    return labels


def _markers(points: Points) -> list[tuple[float, float]]:
    return [(point.p50_ms, accuracy) for point in points.all for accuracy in point.accuracies]
