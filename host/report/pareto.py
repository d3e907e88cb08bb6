"""Accuracy against measured latency, as a picture."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

from edge_s4op.files import write_bytes
from host.family import Family, Trial
from host.report.images import png_of
from host.report.labels import Label, place_labels
from host.report.names import is_unpruned, stage_label
from host.report.pareto_frame import draw_budget, draw_frame, draw_planned
from host.report.pareto_style import DPI, LIGHT, WIDE, Layout, Palette
from host.report.points import Point, Points, points_of

__all__ = ["pareto_figure", "pareto_png", "write_pareto"]

_FAINT = 0.4  # opacity of dominated trials


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
    return png_of(figure)


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
    kept models, which are labelled by what was asked of them. The Pareto front of all trials is a step
    line: the best accuracy within each latency; trials that it dominates are faint. `budget_ms` and the
    budgets that trials were planned for are vertical lines, `chosen` is ringed. Trials without a latency or
    an accuracy are left out, kept ones named.
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
    taken, lines = _draw_budgets(axes, points, budget_ms, palette, layout)
    place_labels(axes, _labels(points, chosen, palette, layout), _markers(points), lines, taken)
    return figure


def _draw_budgets(
    axes: Axes, points: Points, budget_ms: float | None, palette: Palette, layout: Layout
) -> tuple[list[Bbox], list[list[tuple[float, float]]]]:
    """Budgets as vertical lines; what their names cover, and the lines that labels must keep clear of."""
    asked = draw_budget(axes, budget_ms, palette, layout) if points.all else []
    planned_ms = [value for value in points.budgets_ms if not asked or value != budget_ms]
    named = draw_planned(axes, planned_ms, palette, layout, above=bool(asked))
    drawn_ms = [*planned_ms, *([budget_ms] if asked and budget_ms is not None else [])]
    lines = [[(value, y) for y in axes.get_ylim()] for value in drawn_ms]
    return [*asked, *named], [_steps(points.front), *lines]


def _draw_series(axes: Axes, points: Points, chosen: Trial | None, palette: Palette) -> None:
    kept = [point for point in points.kept if point.validation is not None]
    _draw_front(axes, points, palette)
    _draw_intervals(axes, kept, palette)
    for name, marker, size, group in _kept_series(kept):
        style = {"s": size, "marker": marker, "color": _shades(group, palette.validation), "zorder": 5}
        _scatter(axes, _validation(group), name, **style)
    tested = [point for point in points.kept if point.test is not None]
    xy = [point.p50_ms for point in tested], [point.test for point in tested]
    hollow = {"facecolors": "none", "edgecolors": _shades(tested, palette.test), "linewidths": 2.0}
    _scatter(axes, xy, "kept, test accuracy", s=62, marker="D", zorder=5.5, **hollow)
    others = [point for point in points.others if point.validation is not None]
    faint = {"color": [_other_color(point, palette) for point in others], "linewidths": 0}
    _scatter(axes, _validation(others), "other candidates, validation accuracy", s=34, zorder=2, **faint)
    ring = {"facecolors": "none", "edgecolors": palette.chosen, "linewidths": 2.4}
    picked = _validation([point for point in kept if point.trial == chosen])
    _scatter(axes, picked, "chosen model", s=240, zorder=5, **ring)


def _draw_front(axes: Axes, points: Points, palette: Palette) -> None:
    if points.front:
        x, y = zip(*points.front, strict=True)
        style: dict[str, Any] = {"color": palette.validation, "linewidth": 1.8, "alpha": 0.6, "zorder": 3}
        axes.step(x, y, where="post", label="Pareto front of all trials", **style)


def _kept_series(kept: Sequence[Point]) -> list[tuple[str, str, float, list[Point]]]:
    """Name, marker and size: squares are unpruned, triangles were planned for a latency budget."""
    unpruned = [point for point in kept if is_unpruned(point.trial)]
    planned = [point for point in kept if point.trial.budget_ms is not None]
    others = [point for point in kept if point not in unpruned and point not in planned]
    name = "kept, validation accuracy"
    return [
        ("" if others else name, "s", 85, unpruned),
        (name, "o", 75, others),
        ("kept, planned for a latency budget", "<", 95, planned),
    ]


def _shades(points: Sequence[Point], color: str) -> list[tuple[float, float, float, float]]:
    return [to_rgba(color, _FAINT if point.dominated else 1.0) for point in points]


def _other_color(point: Point, palette: Palette) -> tuple[float, float, float, float]:
    return to_rgba(palette.candidate, 0.6) if point.dominated else to_rgba(palette.validation)


def _steps(front: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of the front's step line."""
    corners = [(x1, y0) for (_, y0), (x1, _) in itertools.pairwise(front)]
    return sorted([*front, *corners])


def _draw_intervals(axes: Axes, kept: Sequence[Point], palette: Palette) -> None:
    colors = _shades(kept, palette.validation)
    below = [point.p50_ms - point.low_ms for point in kept]
    above = [point.high_ms - point.p50_ms for point in kept]
    style: dict[str, Any] = {"ecolor": colors, "elinewidth": 1.6, "capsize": 0}
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
        legend = figure.legend(
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
        for handle in legend.legend_handles:
            handle.set_alpha(1)  # an entry has the look of its first point, which may be a faint one


def _labels(points: Points, chosen: Trial | None, palette: Palette, layout: Layout) -> list[Label]:
    """One per kept model, at the higher of its two accuracies."""
    labels = []
    for point in points.kept:
        words = stage_label(point.trial.stage, point.trial.rate)
        for part in layout.left_out:
            words = words.replace(part, "")
        color = palette.muted if point.dominated else palette.ink
        color = palette.chosen if point.trial == chosen else color
        labels.append(Label(words, point.p50_ms, max(point.accuracies), color, layout.text_size))
    return labels


def _markers(points: Points) -> list[tuple[float, float]]:
    return [(point.p50_ms, accuracy) for point in points.all for accuracy in point.accuracies]
