"""A layer's latency against the operators it keeps, as a picture: points, intervals, cliffs, disturbances."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from host.latency.model import CurvePoint, LayerCurve
from host.report.images import png_of
from host.report.pareto_style import DPI, LIGHT, Layout, Palette

__all__ = ["CURVE_NARROW", "CURVE_WIDE", "curve_figure", "curve_png"]

CURVE_WIDE = Layout(width=9.0, height=3.9, legend_columns=3, title_size=13, text_size=11, left_out=())
CURVE_NARROW = Layout(width=4.4, height=4.2, legend_columns=1, title_size=12, text_size=10.5, left_out=())


def curve_png(curve: LayerCurve, title: str, palette: Palette = LIGHT, layout: Layout = CURVE_WIDE) -> bytes:
    """The plot as a PNG; the same bytes for the same curve and matplotlib."""
    figure = curve_figure(curve, title, palette, layout)
    return png_of(figure)


def curve_figure(
    curve: LayerCurve, title: str, palette: Palette = LIGHT, layout: Layout = CURVE_WIDE
) -> Figure:
    """p50 (ms) with its interval over kept operators, straight between measured counts.

    Each cliff is a dashed line at the count k just under it, since k + 1 costs a jump more. Points measured
    on an unsteady device are hollow and red.
    """
    margins = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)
    size = (layout.width, layout.height)
    figure = Figure(size, dpi=DPI, layout=margins, facecolor=palette.background)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_frame(axes, curve, title, palette, layout)
    axes.plot(*_xy(curve.points), color=palette.validation, linewidth=1.6, alpha=0.55, zorder=2)
    steady = [point for point in curve.points if not point.disturbed]
    disturbed = [point for point in curve.points if point.disturbed]
    filled = {"color": palette.validation, "markersize": 7}
    hollow = {"color": palette.bad, "markerfacecolor": "none", "markersize": 8, "markeredgewidth": 2}
    _draw_points(axes, steady, "measured", marker="o", **filled)
    _draw_points(axes, disturbed, "disturbed: not steady", marker="D", **hollow)
    _draw_cliffs(axes, curve.cliffs, palette, layout)
    handles, names = axes.get_legend_handles_labels()
    style: dict[str, Any] = {"frameon": False, "labelcolor": palette.ink, "fontsize": layout.text_size - 0.5}
    figure.legend(handles, names, loc="outside lower center", ncols=layout.legend_columns, **style)
    return figure


def _draw_frame(axes: Axes, curve: LayerCurve, title: str, palette: Palette, layout: Layout) -> None:
    axes.set_facecolor(palette.background)
    axes.grid(color=palette.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(palette.muted)
    axes.tick_params(colors=palette.muted, labelsize=layout.text_size - 0.5, length=0, pad=6)
    named: dict[str, Any] = {"color": palette.ink, "fontsize": layout.text_size}
    axes.set_xlabel(f"operators kept of {curve.num_channels}", labelpad=8, **named)
    axes.set_ylabel("layer's p50 (ms)", labelpad=8, **named)
    characters = int(0.9 * layout.width * 72 / (0.62 * layout.title_size))
    shown = textwrap.shorten(title, characters, placeholder="...")
    bold: dict[str, Any] = {"fontweight": "bold", "color": palette.ink, "fontsize": layout.title_size}
    axes.set_title(shown, loc="left", pad=24 if curve.cliffs else 10, parse_math=False, **bold)
    highest = max(point.p50_interval_ms.high for point in curve.points)
    axes.set_ylim(0, 1.12 * max(highest, 1e-9))
    axes.set_xlim(0, 1.03 * curve.num_channels)
    axes.xaxis.set_major_locator(MaxNLocator(int(1.2 * layout.width), integer=True))


def _draw_points(axes: Axes, points: Sequence[CurvePoint], label: str, **style: Any) -> None:
    if points:
        below = [max(0.0, point.p50_ms - point.p50_interval_ms.low) for point in points]
        above = [max(0.0, point.p50_interval_ms.high - point.p50_ms) for point in points]
        bars: dict[str, Any] = {"elinewidth": 1.6, "capsize": 4, "capthick": 1.6, "zorder": 3}
        axes.errorbar(*_xy(points), yerr=[below, above], label=label, linestyle="none", **bars, **style)


def _draw_cliffs(axes: Axes, cliffs: Sequence[int], palette: Palette, layout: Layout) -> None:
    for number, cliff in enumerate(cliffs):
        label = None if number else "cliff: one more costs a jump"
        dashed: dict[str, Any] = {"linewidth": 1.6, "linestyle": (0, (5, 3)), "zorder": 1.5}
        axes.axvline(cliff, color=palette.budget, label=label, **dashed)
        axes.annotate(
            str(cliff),
            (cliff, 1),
            (0, 4),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            color=palette.budget,
            fontsize=layout.text_size,
            fontweight="bold",
        )


def _xy(points: Sequence[CurvePoint]) -> tuple[list[int], list[float]]:
    return [point.kept for point in points], [point.p50_ms for point in points]
