from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edge_s4op.errors import StorageError
from host.family import Family
from host.pruning.plan import PrunePlan
from host.report import write_report
from host.report.about import served_model
from host.report.heat import heat_map
from host.report.html import Html, element
from host.report.page import report_html
from host.report.page_style import STYLE
from tests.host.report.latency_samples import OTHER_DEVICE, budget_family, budget_trial
from tests.host.report.report_samples import (
    DEVICE,
    KEPT_PER_LAYER,
    candidates,
    family,
    kept_at,
    trial,
    unpruned,
)

VOID = {"br", "img", "meta", "source"}
HOSTILE = '<script>alert(1)</script><img src="http://example.com/x" onerror=x>"\'&'
SAMPLE = family()
SERVED = {
    "name": "invented",
    "accuracy_http": 143 / 150,
    "accuracy_offline": 143 / 150,
    "samples": 150,
    "url": "http://127.0.0.1:8000",
}


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, text, and tags that do not match."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.mismatched: list[str] = []
        self._open: list[str] = []
        self.feed(content)
        self.close()
        self.mismatched += self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.mismatched.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(sample: Family, **marks: object) -> Page:
    return Page(report_html(sample, **marks))


@pytest.fixture(scope="module")
def whole() -> Page:
    """The page of the whole sample family, its half-pruned model chosen."""
    return page(SAMPLE, budget_ms=1.6, chosen=kept_at(SAMPLE, 0.5))


@pytest.fixture(scope="module")
def budgeted() -> Page:
    """The page of a family of rates and budgets, on two devices, with a latency model of two curves."""
    return page(budget_family())


@pytest.mark.parametrize(("name", "pictures"), [("whole", 1), ("budgeted", 3)])
def test_the_page_is_well_formed_and_needs_nothing_else(
    name: str, pictures: int, request: pytest.FixtureRequest
) -> None:
    whole: Page = request.getfixturevalue(name)
    assert whole.mismatched == []
    assert not {tag for tag, _ in whole.elements} & {"script", "link", "iframe", "object", "a"}
    links = {"src", "srcset", "href"}
    sources = [value for _, found in whole.elements for name, value in found.items() if name in links]
    assert len(sources) == 4 * pictures
    assert all(str(source).startswith("data:image/png;base64,iVBOR") for source in sources)
    assert not re.search(r"url\(|@import|http", STYLE)


def test_there_is_a_picture_for_light_and_dark_and_for_phones(whole: Page) -> None:
    assert [source["media"] for source in whole.all("source")] == [
        "(max-width: 600px) and (prefers-color-scheme: dark)",
        "(max-width: 600px)",
        "(prefers-color-scheme: dark)",
    ]
    (image,) = whole.all("img")
    assert "50 % pruned: 96.2 % at 1.51 ms, on the Pareto front" in str(image["alt"])
    assert "unpruned: 96.2 % at 2.40 ms;" in str(image["alt"])
    assert any(meta.get("name") == "viewport" for meta in whole.all("meta"))


@pytest.mark.parametrize(("name", "tables"), [("whole", 6 + 3), ("budgeted", 6 + 3 + 3 + 1)])
def test_tables_can_be_read_aloud(name: str, tables: int, request: pytest.FixtureRequest) -> None:
    whole: Page = request.getfixturevalue(name)
    assert len(whole.all("caption")) == len(whole.all("table")) == tables
    assert all(image.get("alt") for image in whole.all("img"))
    assert all(header.get("scope") in {"col", "row"} for header in whole.all("th"))
    assert len(whole.all("h1")) == 1
    assert whole.all("html") == [{"lang": "en"}]


def test_names_from_outside_are_text() -> None:
    sample = family(
        unpruned(error=HOSTILE),
        dataset=HOSTILE,
        model_kind=HOSTILE,
        device=DEVICE.model_copy(update={"cpu": HOSTILE, "versions": {HOSTILE: HOSTILE}}),
        options={HOSTILE: {"class_labels": [HOSTILE]}},
    )
    shown = page(sample, served={"name": HOSTILE, "url": HOSTILE, "samples": HOSTILE})
    # heading and title: model and dataset each; the lead, the device's three; the error in two tables; the
    # served model's three; an option and its value. Published figures: there are none of such a model
    assert shown.text.lower().count("<script>alert(1)</script>") == 2 * 2 + 1 + 3 + 2 + 3 + 2
    assert shown.all("script") == []
    assert len(shown.all("img")) == 1
    assert not {name for _, attributes in shown.elements for name in attributes} & {"onerror"}
    assert shown.mismatched == []


def test_only_elements_are_taken_as_html() -> None:
    assert element("p", "<b>", element("i", "&"), title='"') == '<p title="&quot;">&lt;b&gt;<i>&amp;</i></p>'
    assert element("p", Html("<b></b>")) == "<p><b></b></p>"
    assert element("p", class_=None, aria_label="x", hidden=True) == '<p aria-label="x" hidden></p>'


def test_the_chosen_model_is_marked_once_and_summarised(whole: Page) -> None:
    classes = [row.get("class") for row in whole.all("tr")]
    assert (classes.count("chosen"), classes.count("over")) == (1, 2)
    assert "Chosen model" in whole.text


def test_nothing_is_chosen_unless_asked() -> None:
    shown = page(family(unpruned()), budget_ms=0.5)
    assert "Chosen model" not in shown.text
    assert "0 of 1 models take at most 0.5 ms" in shown.text
    assert "HTTP" not in shown.text


def test_the_heat_map_has_every_number() -> None:
    content = heat_map(family(unpruned(), *candidates(0.5)))
    for kept in (32, *KEPT_PER_LAYER[0.5]):
        assert f'<td style="--share: {kept / 32:.3f}">{kept}</td>' in content


def test_the_heat_map_names_budgets_and_the_share_they_came_to() -> None:
    shown = Page(heat_map(family(unpruned(), budget_trial(1.3))))
    assert "budget 1.3\N{NO-BREAK SPACE}ms57\N{NO-BREAK SPACE}% pruned" in shown.text
    assert "states" not in shown.text
    assert "Residual" not in shown.text


def test_the_heat_map_says_which_states_and_residual_channels_are_left() -> None:
    cut = budget_trial(0.8, features=tuple(range(20)), states=(32, 16, 16, 16))
    content = heat_map(family(unpruned(), cut))
    assert '<td style="--share: 0.281">9<small>32 states</small></td>' in content
    assert '<td style="--share: 1.000">32<small>64 states</small></td>' in content
    assert '<td style="--share: 0.625">20<small>of 32</small></td>' in content
    assert "of its 64 real states" in content


def test_layers_of_several_widths_each_say_how_many_they_had() -> None:
    plan = PrunePlan((32, 16), (tuple(range(8)), (0, 1, 2, 3)))
    content = heat_map(family(unpruned(plan=plan)))
    assert '<td style="--share: 0.250">8<small>of 32</small></td>' in content
    assert '<td style="--share: 0.250">4<small>of 16</small></td>' in content


def test_every_device_has_its_latencies_and_its_facts(budgeted: Page) -> None:
    assert "Synthetic CPU 3000 and Orin Nano (invented), Synthetic ARM." in budgeted.text
    for words in ("p50 (ms), PC (invented)", "p50 (ms), Orin Nano (invented)", "8 SMs", "7.07-7.34"):
        assert words in budgeted.text
    assert OTHER_DEVICE.fingerprint in budgeted.text


def test_energy_is_shown_where_any_was_measured(budgeted: Page, whole: Page) -> None:
    assert "Energy (mJ)" in budgeted.text
    assert "Energy" not in whole.text


def test_an_interrupted_search_says_so(whole: Page) -> None:
    assert "interrupted" in page(family(unpruned(), complete=False)).text
    assert "interrupted" not in whole.text


def test_without_a_latency_model_nothing_is_said_of_predictions(whole: Page, budgeted: Page) -> None:
    assert "How latency was predicted" in budgeted.text
    assert "How latency was predicted" not in whole.text


def test_every_trial_is_listed(whole: Page) -> None:
    assert "All 13 trials" in whole.text
    assert "90 % pruned, seed 123" in whole.text


@pytest.mark.parametrize(
    ("changes", "equal"),
    [
        ({}, True),
        ({"accuracy_http": 143 / 150 + 1e-9}, True),
        ({"accuracy_http": 142 / 150}, False),
        ({"samples": None, "accuracy_http": 0.9}, False),
        ({"accuracy_http": None}, False),
        ({"accuracy_http": None, "accuracy_offline": None}, False),
        ({"accuracy_http": float("nan")}, False),
    ],
)
def test_served_accuracy_is_compared_with_offline(changes: dict[str, object], equal: bool) -> None:
    shown = Page(served_model({**SERVED, **changes}))
    assert ("The accuracies are equal." in shown.text) is equal
    assert shown.all("div") == [{"class": "verdict" if equal else "verdict bad"}]


def test_a_served_model_has_a_section() -> None:
    shown = page(family(unpruned()), served=SERVED)
    assert "Served over HTTP" in shown.text
    assert "invented at http://127.0.0.1:8000 reached 95.33 % over HTTP and 95.33 % offline" in shown.text


@pytest.mark.parametrize(
    "sample",
    [
        family(unpruned(latency=None, test_accuracy=None, validation_accuracy=None, error="lost")),
        family(unpruned(latency=None), *candidates(0.3)),
        family(unpruned(), trial(0.5, 7, KEPT_PER_LAYER[0.5], 0.9625, test_accuracy=0.9667, kept=True)),
        family(unpruned(kept=False)),
        budget_family(latency_models=()),
        family(unpruned(), budget_trial(1.3, latency=None, other_latencies=(None,), error="lost")),
        family(unpruned(), budget_trial(1.3, other_latencies=()), other_devices=(OTHER_DEVICE,)),
        family(unpruned(), budget_trial(1.3, budget_ms=None, stage="budget-3mJ", test_accuracy=None)),
    ],
    ids=str.split("unknown unmeasured equal none-kept no-model budget-lost other-unmeasured energy"),
)
def test_every_family_has_a_page(sample: Family) -> None:
    shown = page(sample, budget_ms=2.0, chosen=next(iter(sample.kept()), None), served={})
    assert shown.mismatched == []
    assert "None" not in shown.text
    assert not re.search(r"\bnan\b", shown.text.lower())


def test_what_went_wrong_is_told() -> None:
    text = page(family(unpruned(), trial(0.3, 7, KEPT_PER_LAYER[0.3], None, error="diverged"))).text
    assert "30 % pruned, seed 7: diverged" in text


def test_the_page_is_written_whole_or_not(tmp_path: Path) -> None:
    write_report(family(unpruned()), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().endswith("</html>\n")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(StorageError):
        write_report(family(unpruned()), tmp_path / "report.html" / "below")
