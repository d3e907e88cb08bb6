"""Everything around the points of the accuracy-latency plot: axes, title, what is not drawn, the budget."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from host.family import Family
from host.report import text
from host.report.names import trial_name
from host.report.pareto_style import Layout, Palette
from host.report.points import Points, accuracy_range, latency_range

__all__ = ["draw_budget", "draw_frame", "draw_planned"]


def draw_frame(
    axes: Axes, family: Family, points: Points, budget_ms: float | None, palette: Palette, layout: Layout
) -> None:
    """Axes with their ranges, names and notes, and the title."""
    _draw_axes(axes, palette, layout)
    _set_ranges(axes, points, budget_ms, layout)
    _draw_title(axes, family, palette, layout)
    named: dict[str, Any] = {"color": palette.ink, "fontsize": layout.text_size, "parse_math": False}
    notes = [*_latency_name(family), *_notes(axes, points, budget_ms)]
    wrapped = [line for note in notes for line in textwrap.wrap(note, _characters(layout, layout.text_size))]
    axes.set_xlabel("\n".join(wrapped), labelpad=8, **named)
    axes.set_ylabel("accuracy (%)", labelpad=8, **named)
    if not points.all:
        words = "no trial has both a latency and an accuracy"
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", **named)


def draw_budget(axes: Axes, budget_ms: float | None, palette: Palette, layout: Layout) -> list[Bbox]:
    """The budget as a named line, slower shaded; the name's pixels. Nothing if it is off the axis."""
    low, high = axes.get_xlim()
    if budget_ms is None or not low <= budget_ms <= high:
        return []
    axes.axvline(budget_ms, color=palette.budget, linewidth=1.8, linestyle=(0, (5, 3)), zorder=1.5)
    axes.axvspan(budget_ms, high, color=palette.budget, alpha=0.07, linewidth=0, zorder=0.5)
    left = budget_ms > (low + high) / 2
    name = axes.annotate(
        f"budget {text.budget(budget_ms)}",
        (budget_ms, 0),
        (-6 if left else 6, 7),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="right" if left else "left",
        color=palette.budget,
        fontsize=layout.text_size,
        fontweight="bold",
    )
    return [name.get_window_extent()]


def draw_planned(
    axes: Axes, budgets_ms: Sequence[float], palette: Palette, layout: Layout, *, above: bool
) -> list[Bbox]:
    """The budgets that trials were planned for, as dotted lines; their names' pixels. None off the axis.

    `above`: the names leave the lowest line of the plot to the name that `draw_budget` wrote there.
    """
    low, high = axes.get_xlim()
    bottom = 7 + (1.7 * layout.text_size if above else 0)
    shown = [value for value in budgets_ms if low <= value <= high]
    return [_draw_planned(axes, value, bottom, palette, layout) for value in shown]


def _draw_planned(axes: Axes, budget_ms: float, bottom: float, palette: Palette, layout: Layout) -> Bbox:
    axes.axvline(budget_ms, color=palette.budget, linewidth=1.3, linestyle=(0, (1, 2)), zorder=1.4)
    name = axes.annotate(
        f"\N{LESS-THAN OR EQUAL TO} {text.significant(budget_ms)} ms",
        (budget_ms, 0),
        (3, bottom),  # right of the line, since the models that hold the budget are left of it
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        rotation=90,
        ha="left",
        va="bottom",
        color=palette.budget,
        fontsize=layout.text_size - 1.5,
    )
    return name.get_window_extent()


def _draw_axes(axes: Axes, palette: Palette, layout: Layout) -> None:
    axes.set_facecolor(palette.background)
    axes.grid(color=palette.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(palette.muted)
    axes.tick_params(colors=palette.muted, labelsize=layout.text_size - 0.5, length=0, pad=6)


def _set_ranges(axes: Axes, points: Points, budget_ms: float | None, layout: Layout) -> None:
    low, high = accuracy_range(points)
    axes.set_xlim(*latency_range(points, budget_ms))
    axes.set_ylim(low, high)
    ticks = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    axes.set_yticks([tick for tick in ticks if max(0, low) <= tick <= min(100, high)])
    axes.xaxis.set_major_locator(MaxNLocator(int(layout.width)))


def _draw_title(axes: Axes, family: Family, palette: Palette, layout: Layout) -> None:
    title = f"{family.model_kind.upper()} on {family.dataset}"
    subtitle = f"{family.device.board}, {family.device.cpu}"
    _write_above(axes, title, 27, layout, layout.title_size, color=palette.ink, fontweight="bold")
    _write_above(axes, subtitle, 10, layout, layout.text_size, color=palette.muted)


def _write_above(axes: Axes, words: str, points: float, layout: Layout, size: float, **style: Any) -> None:
    axes.annotate(
        textwrap.shorten(words, _characters(layout, size), placeholder="..."),
        (0, 1),
        (0, points),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=size,
        parse_math=False,
        **style,
    )


def _latency_name(family: Family) -> list[str]:
    taken = next((trial.latency for trial in family.trials if trial.latency is not None), None)
    if taken is None:
        return ["latency p50 (ms)"]
    threads = f"{taken.threads} thread" + ("s" if taken.threads > 1 else "")
    return [
        f"latency p50 (ms) with its {100 * taken.confidence:g} % interval; "
        f"{taken.backend}, {threads}, batch {taken.batch}"
    ]


def _notes(axes: Axes, points: Points, budget_ms: float | None) -> list[str]:
    notes = []
    if points.missing:
        notes.append(f"not drawn, without latency or accuracy: {'; '.join(map(trial_name, points.missing))}")
    low, high = axes.get_xlim()
    if points.all and budget_ms is not None and not low <= budget_ms <= high:
        side = "right" if budget_ms > high else "left"
        notes.append(f"the budget of {text.budget(budget_ms)} lies far to the {side}")
    return notes


def _characters(layout: Layout, size: float) -> int:
    """How many characters of this size fit across the figure; a mean one is 0.62 em wide."""
    return int(0.9 * layout.width * 72 / (0.62 * size))
