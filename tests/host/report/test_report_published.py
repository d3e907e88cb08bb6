from __future__ import annotations

import csv
import hashlib
import io
import re

import pytest

from host.report.published import nearest_rate, published_figures, published_section
from host.report.published_data import PUBLISHED_CSV
from tests.host.report.latency_samples import budget_trial
from tests.host.report.report_samples import candidates, family, unpruned

# Of the published table as it was taken down; a changed digit changes it.
SHA256 = "c7efdb17f82e14280a7f1b30f3fd70ad4d7ce0c0b32819ccbdb7ba64f5466de7"
DATASETS, ALLOCATIONS, RATES = (
    ("imdb", "listops", "pathfinder"),
    ("exponential", "random"),
    (10, 30, 50, 70, 90),
)


def rows_of(content: str, caption: str) -> list[list[str]]:
    """The cells of the table with this caption, row by row, without tags."""
    (table,) = (part for part in content.split("<table")[1:] if f"<caption><span>{caption}" in part)
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr")[1:])
    return [[re.sub("<[^>]*>", " ", cell).strip() for cell in row] for row in cells]


def test_the_published_facts_are_unchanged() -> None:
    assert hashlib.sha256(PUBLISHED_CSV.encode()).hexdigest() == SHA256
    assert len(list(csv.DictReader(io.StringIO(PUBLISHED_CSV)))) == 66


@pytest.mark.parametrize("kind", ["s4d", "s4"])
def test_every_dataset_allocation_and_rate_has_its_figures(kind: str) -> None:
    found = [(each.dataset, each.allocation, each.rate_pct) for each in published_figures(kind)]
    assert found == [(d, a, r) for d in DATASETS for a in ALLOCATIONS for r in RATES]


def test_changes_are_against_the_unpruned_model_of_the_same_dataset() -> None:
    found = {(f.dataset, f.allocation, f.rate_pct): f for f in published_figures("s4d")}
    half = found["listops", "exponential", 50]
    assert half.accuracy_change == pytest.approx(51.15 - 59.7)
    assert (half.latency_reduction_pct, half.param_reduction_pct) == (32.91, 16.52)


@pytest.mark.parametrize(
    ("rate", "nearest"), [(0.0, 10), (0.3, 30), (0.39, 30), (0.4, 30), (0.41, 50), (0.57, 50), (0.999, 90)]
)
def test_the_nearest_published_rate_is_taken(rate: float, nearest: int) -> None:
    assert nearest_rate(rate, published_figures("s4d")) == nearest


def test_this_family_stands_beside_the_published_changes() -> None:
    content = published_section(family(unpruned(), *candidates(0.5), budget_trial(1.9)))
    assert "Datasets, model sizes and devices differ" in content
    accuracy = rows_of(content, "Test accuracy")
    assert accuracy[0][2] == "50\N{NO-BREAK SPACE}% pruned"
    budget = "budget 1.9\N{NO-BREAK SPACE}ms 22.7\N{NO-BREAK SPACE}% pruned beside 30\N{NO-BREAK SPACE}%"
    assert re.sub(" +", " ", accuracy[0][1]) == budget
    assert accuracy[1] == ["This family ucr:Invented", "+0.2", "-1.3"]
    assert accuracy[4] == ["Published, listops exponential allocation", "-1.2", "-8.6"]
    assert rows_of(content, "Latency")[1][1:] == ["21.6", "37.1"]
    assert rows_of(content, "Latency")[4][1:] == ["18.7", "32.9"]
    assert rows_of(content, "Parameters")[1][1:] == ["16.1", "35.6"]
    assert rows_of(content, "Parameters")[4][1:] == ["9.9", "16.5"]


@pytest.mark.parametrize(
    ("dataset", "first"),
    [("ucr:Invented", "imdb"), ("listops:max_length=500", "listops"), ("npz:imdb", "imdb")],
)
def test_the_same_dataset_comes_first(dataset: str, first: str) -> None:
    rows = rows_of(published_section(family(unpruned(), *candidates(0.5), dataset=dataset)), "Latency")
    assert [row[0].split()[1] for row in rows[2:4]] == [first, first]
    assert len(rows) == 2 + len(DATASETS) * len(ALLOCATIONS)


def test_what_is_not_known_is_not_compared() -> None:
    lost = budget_trial(1.9, latency=None, test_accuracy=None)
    content = published_section(family(unpruned(), lost))
    assert rows_of(content, "Test accuracy")[1][1:] == ["-"]
    assert rows_of(content, "Latency")[1][1:] == ["-"]


def test_there_is_no_comparison_without_published_figures_or_pruned_models() -> None:
    assert published_section(family(model_kind="s5")) == ""
    assert published_section(family(unpruned())) == ""
    assert published_section(family(unpruned(kept=False), *candidates(0.5))) == ""
