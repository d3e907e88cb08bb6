"""Colours and sizes of the accuracy-latency plot; colours are from the set of Okabe and Ito.

The set keeps its hues apart for colour-blind readers (https://jfly.uni-koeln.de/color/); series differ in
shape as well.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DARK", "DPI", "LIGHT", "NARROW", "WIDE", "Layout", "Palette"]


DPI = 200


@dataclass(frozen=True)
class Palette:
    """Colours by what they are for."""

    background: str
    ink: str
    muted: str
    grid: str
    candidate: str
    validation: str
    test: str
    chosen: str
    budget: str
    bad: str


@dataclass(frozen=True)
class Layout:
    """Width and height in inches, of DPI pixels; text sizes in points; what labels go without."""

    width: float
    height: float
    legend_columns: int
    title_size: float
    text_size: float
    left_out: tuple[str, ...]


LIGHT = Palette(
    background="#ffffff",
    ink="#1b1f24",
    muted="#57606a",
    grid="#e4e7eb",
    candidate="#aab2bd",
    validation="#0072b2",
    test="#d55e00",
    chosen="#009e73",
    budget="#a8457f",
    bad="#c62f26",
)
DARK = Palette(
    background="#161a20",
    ink="#e8ebef",
    muted="#a2abb6",
    grid="#2b313a",
    candidate="#68727f",
    validation="#56b4e9",
    test="#e69f00",
    chosen="#2fc79a",
    budget="#e08fc0",
    bad="#ff8a80",
)
WIDE = Layout(width=9.0, height=5.6, legend_columns=2, title_size=15, text_size=11, left_out=())
NARROW = Layout(
    width=4.4, height=5.4, legend_columns=1, title_size=13, text_size=10.5, left_out=(" pruned", "budget ")
)
