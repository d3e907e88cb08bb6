"""Pictures inside the page: one file, drawn for light and dark and for wide and narrow."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from host.report.html import Html, element
from host.report.pareto_style import DARK, DPI, LIGHT, Layout, Palette

__all__ = ["png_of", "responsive"]


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG, without the software's name, so that equal figures are equal bytes.

    Drawn once, where `Figure.savefig` draws twice: its size does not depend on what it shows.
    """
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


def responsive(
    png: Callable[[Palette, Layout], bytes], wide: Layout, narrow: Layout, alternative: str, caption: object
) -> Html:
    """A figure in four renderings: the browser takes the one for its colour scheme and width.

    `alternative` says in words what the picture shows.
    """
    small, dark = "(max-width: 600px)", "(prefers-color-scheme: dark)"

    def image(palette: Palette, layout: Layout) -> str:
        return f"data:image/png;base64,{base64.b64encode(png(palette, layout)).decode()}"

    return element(
        "figure",
        element(
            "picture",
            element("source", media=f"{small} and {dark}", srcset=image(DARK, narrow)),
            element("source", media=small, srcset=image(LIGHT, narrow)),
            element("source", media=dark, srcset=image(DARK, wide)),
            element("img", src=image(LIGHT, wide), alt=alternative, **_pixels(wide)),
        ),
        element("figcaption", caption),
    )


def _pixels(layout: Layout) -> dict[str, int]:
    return {"width": round(layout.width * DPI), "height": round(layout.height * DPI)}
