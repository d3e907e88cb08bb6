"""The whole search on one page that needs nothing else: no network, no scripts, no other files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_s4op import __version__
from edge_s4op.files import write_text
from host.family import Family, Trial
from host.report import about, sections
from host.report.comparability import strangers
from host.report.heat import heat_map
from host.report.html import Html, element
from host.report.latency_section import latency_section
from host.report.page_style import STYLE
from host.report.published import published_section
from host.report.rows import disturbances, problems
from host.report.trials import all_trials

__all__ = ["report_html", "write_report"]

# Even a value that slipped through unescaped could neither run nor load anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(
    family: Family,
    path: Path,
    *,
    budget_ms: float | None = None,
    chosen: Trial | None = None,
    served: Mapping[str, object] | None = None,
) -> None:
    """Write the page, all or nothing. Raises StorageError. See `report_html`."""
    write_text(Path(path), report_html(family, budget_ms=budget_ms, chosen=chosen, served=served))


def report_html(
    family: Family,
    *,
    budget_ms: float | None = None,
    chosen: Trial | None = None,
    served: Mapping[str, object] | None = None,
) -> str:
    """The page as one HTML document.

    `budget_ms` and `chosen` are marked wherever models are shown. `served` says how the model answered over
    HTTP: any of name, url, samples, accuracy_http and accuracy_offline (fractions of one).
    """
    title = f"{family.model_kind.upper()} on {family.dataset}"
    parts = [
        element(
            "header",
            element("h1", title),
            element("p", about.lead(family), class_="lead"),
            sections.summary(family, budget_ms, chosen),
        ),
        _section("Accuracy against latency", sections.picture(family, budget_ms, chosen)),
        _section("Kept models", sections.models_table(family, budget_ms, chosen), _problems(family)),
        _section("Served over HTTP", about.served_model(served)) if served else "",
        _section("Where operators were kept", heat_map(family)),
        _section("How latency was predicted", latency_section(family)),
        _section("Beside the published figures", published_section(family)),
        _section("How to read this", about.reading(family)),
        _section("Devices" if family.other_devices else "Device", *about.devices(family)),
        _section("Details", all_trials(family), about.settings(family)),
    ]
    page = element("html", _head(title), element("body", element("main", *parts), _footer()), lang="en")
    return f"<!doctype html>\n{page}\n"


def _head(title: str) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title}: pruned models by measured latency"),
        element("style", Html(STYLE)),
    )


def _section(heading: str, *content: Html) -> Html:
    """A part of the page; nothing where it has no content."""
    return element("section", element("h2", heading), *content) if any(content) else Html()


def _problems(family: Family) -> Html:
    lines = [*problems(family.trials), *disturbances(family, family.trials), *strangers(family)]
    return element("ul", *(element("li", line) for line in lines), class_="note bad") if lines else Html()


def _footer() -> Html:
    return element("footer", f"Written by edge-s4op {__version__}.")
