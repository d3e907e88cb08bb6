"""HTML built from values: every string becomes text, only what `element` returned is taken as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable

__all__ = ["Html", "definitions", "element", "joined", "scrolling", "table", "table_cell"]

_VOID = {"br", "img", "meta", "source"}


class Html(str):
    """Text that is HTML already; nothing but `element` and `joined` makes it from outside values."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: object) -> Html:
    """`<tag attributes>children</tag>`; children that are not Html are escaped, so are attribute values.

    An attribute's trailing underscore falls and others become hyphens (`class_`, `aria_label`); one that is
    True stands without a value, one that is None or False is left out.
    """
    opening = f"<{tag}{''.join(_attribute(*pair) for pair in attributes.items())}>"
    return Html(opening if tag in _VOID else f"{opening}{joined(children)}</{tag}>")


def joined(children: Iterable[object]) -> Html:
    """Children one after another, escaped unless they are Html."""
    return Html("".join(child if isinstance(child, Html) else html.escape(str(child)) for child in children))


def table(caption: str, headers: Iterable[object], rows: Iterable[Html], **attributes: object) -> Html:
    """A table in a box that scrolls sideways where the page is narrow."""
    head = element("tr", *(element("th", header, scope="col") for header in headers))
    content = _caption(caption), element("thead", head), element("tbody", *rows)
    return scrolling(element("table", *content, **attributes), caption)


def table_cell(tag: str, value: object, detail: object = "", **attributes: object) -> Html:
    """A cell (`td` or `th`), with a smaller second line if there is a detail."""
    return element(tag, value, element("small", detail) if detail else "", **attributes)


def definitions(caption: str, facts: Iterable[tuple[str, object]]) -> Html:
    """A table of two columns, names and values."""
    rows = (element("tr", element("th", name, scope="row"), element("td", value)) for name, value in facts)
    content = _caption(caption), element("tbody", *rows)
    return scrolling(element("table", *content, class_="facts"), caption)


def scrolling(content: Html, name: str) -> Html:
    """A region that can be scrolled with the keyboard too."""
    return element("div", content, class_="scroll", role="region", aria_label=name, tabindex=0)


def _caption(caption: str) -> Html:
    return element("caption", element("span", caption))  # the span stays in view where the table scrolls


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    shown = name.rstrip("_").replace("_", "-")
    return f" {shown}" if value is True else f' {shown}="{html.escape(str(value))}"'
