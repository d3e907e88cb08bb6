"""The report marks latencies that something disturbed, and those that do not compare."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from host.family import Family
from host.report import family_rows, family_table
from host.report.comparability import device_differences, strangers
from host.report.page import report_html
from tests.host.report.latency_samples import OTHER_DEVICE
from tests.host.report.report_samples import KEPT_PER_LAYER, family, latency, trial, unpruned

WHY = "cpu-load: other processes took 40 % of the CPU"
NOTE = f"* 50 % pruned, seed 7: measured while disturbed: {WHY}"


def sample(**changes: object) -> Family:
    """The unpruned model and one of half its operators, with this changed in its latency."""
    taken = latency(1.5).model_copy(update=changes)
    return family(
        unpruned(),
        trial(0.5, 7, KEPT_PER_LAYER[0.5], 0.96, kept=True, model="keep-0.50", latency=taken),
    )


def table(shown: Family) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(family_table(shown))
    return " ".join(console.export_text().split())


def test_a_disturbed_latency_has_an_asterisk_and_a_footnote() -> None:
    disturbed = sample(disturbed=(WHY,))
    assert [row["disturbed"] for row in family_rows(disturbed)] == [[], [WHY]]
    assert " 1.50* " in table(disturbed)
    assert NOTE in table(disturbed)
    page = report_html(disturbed)
    assert page.count("1.50*") >= 2  # among the kept models, and among all trials
    assert NOTE in page


def test_an_undisturbed_family_has_neither() -> None:
    assert "*" not in table(sample())
    assert "disturbed" not in report_html(sample())


def test_a_disturbed_latency_on_another_device_names_it() -> None:
    taken = latency(3.0).model_copy(update={"disturbed": (WHY,), "device_fingerprint": "e" * 64})
    pruned = sample().trials[1].model_copy(update={"other_latencies": (taken,)})
    shown = family(unpruned(other_latencies=(None,)), pruned, other_devices=(OTHER_DEVICE,))
    assert f"50 % pruned, seed 7 on {OTHER_DEVICE.board}: measured while disturbed" in table(shown)


def test_a_latency_of_another_fingerprint_is_not_set_beside_the_others() -> None:
    strange = sample(device_fingerprint="a" * 64)
    (line,) = strangers(strange)
    assert line.startswith("50 % pruned, seed 7: its latency does not compare")
    assert "aaaaaaaaaaaa" in line
    assert line in table(strange)
    assert line in report_html(strange)
    assert family_rows(strange)[1]["speedup"] is None
    assert family_rows(sample())[1]["speedup"] == pytest.approx(2.3992 / 1.5)


def test_several_devices_say_in_what_they_differ() -> None:
    shown = family(unpruned(), other_devices=(OTHER_DEVICE,))
    (line,) = device_differences(shown)
    assert line.startswith("latencies on PC (invented) and on Orin Nano (invented) do not compare: ")
    assert "Synthetic CPU 3000" in line
    assert "Synthetic ARM" in line
    assert line in table(shown)
    assert line in report_html(shown)
    assert device_differences(sample()) == []
