"""Short texts beside points, placed so that they do not cover one another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

__all__ = ["Label", "place_labels"]

# Offsets from the point in points (1/72 inch), and which edge of the text lies there; the first free one is
# taken, the near ones first.
_COLUMNS = ((0, "center"), (-7, "right"), (7, "left"))
_PLACES = (
    ((0, 9), "center", "bottom"),
    ((-7, 9), "right", "bottom"),
    ((7, 9), "left", "bottom"),
    ((7, -9), "left", "top"),
    ((-7, -9), "right", "top"),
    ((0, -9), "center", "top"),
    ((14, 0), "left", "center"),
    ((-14, 0), "right", "center"),
    *(((side, 9 + 15 * line), edge, "bottom") for line in range(1, 6) for side, edge in _COLUMNS),
    *(((side, -9 - 15 * line), edge, "top") for line in range(1, 6) for side, edge in _COLUMNS),
)
_MARKER_PIXELS = 28
_LINE_PIXELS = 6
_STEPS = 40


@dataclass(frozen=True)
class Label:
    """A text and the point it belongs to, in data units."""

    words: str
    x: float
    y: float
    color: str
    size: float


def place_labels(
    axes: Axes,
    labels: Sequence[Label],
    markers: Sequence[tuple[float, float]],
    lines: Sequence[Sequence[tuple[float, float]]] = (),
    taken: Sequence[Bbox] = (),
) -> list[Annotation]:
    """Write each label at the first free place around its point, or at the first that covers no text.

    Kept clear are `markers` and `lines`, given by their corners in data units, and texts in the boxes
    `taken`, in pixels. The figure must have been laid out, since the places are found in its pixels.
    """
    boxes = [_around(axes, x, y, _MARKER_PIXELS) for x, y in markers]
    boxes += [_around(axes, x, y, _LINE_PIXELS) for line in lines for x, y in _along(line)]
    written: list[Annotation] = []
    for label in labels:
        texts = [*taken, *(annotation.get_window_extent() for annotation in written)]
        placed = _placed(axes, label, [*texts, *boxes]) or _placed(axes, label, texts)
        written.append(placed or _write(axes, label, 0))
    return written


def _placed(axes: Axes, label: Label, boxes: Sequence[Bbox]) -> Annotation | None:
    return next((text for text in _tries(axes, label) if _is_free(axes, text, boxes)), None)


def _tries(axes: Axes, label: Label) -> Iterator[Annotation]:
    for place in range(len(_PLACES)):
        annotation = _write(axes, label, place)
        yield annotation
        annotation.remove()


def _is_free(axes: Axes, annotation: Annotation, boxes: Sequence[Bbox]) -> bool:
    box, frame = annotation.get_window_extent(), axes.get_window_extent()
    inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
    return inside and not any(box.overlaps(other) for other in boxes)


def _write(axes: Axes, label: Label, place: int) -> Annotation:
    offset, horizontal, vertical = _PLACES[place]
    return axes.annotate(
        label.words,
        (label.x, label.y),
        offset,
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        color=label.color,
        fontsize=label.size,
        fontweight="bold",
        parse_math=False,
        zorder=6,
    )


def _along(line: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    for (x0, y0), (x1, y1) in itertools.pairwise(line):
        for step in range(1, _STEPS):
            yield x0 + (x1 - x0) * step / _STEPS, y0 + (y1 - y0) * step / _STEPS


def _around(axes: Axes, x: float, y: float, size: float) -> Bbox:
    at_x, at_y = axes.transData.transform((x, y))
    half = size / 2
    return Bbox.from_extents(at_x - half, at_y - half, at_x + half, at_y + half)
