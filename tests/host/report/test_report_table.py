from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from host.family import Family
from host.report import family_rows, family_table
from host.report import text as written
from tests.host.report.latency_samples import budget_family, budget_trial
from tests.host.report.report_samples import KEPT_PER_LAYER, RATES, family, kept_at, latency, trial, unpruned


def printed(sample: Family, width: int = 80, **marks: object) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(family_table(sample, **marks))
    return console.export_text()


def test_one_row_per_kept_model_from_unpruned_to_most_pruned() -> None:
    assert [row["rate"] for row in family_rows(family())] == [0.0, *RATES]


def test_rows_are_plain_values() -> None:
    sample = family()
    row = family_rows(sample, budget_ms=1.6, chosen=kept_at(sample, 0.5))[2]
    assert json.loads(json.dumps(row)) == row
    assert (row["model"], row["seed"], row["chosen"], row["within_budget"]) == ("keep-0.50", 42, True, True)
    assert (row["kept_operators"], row["operators"], row["kept_per_layer"]) == (64, 128, [32, 23, 8, 1])
    assert row["p50_ms"] == pytest.approx(1.5096)
    assert row["p50_interval_ms"] == pytest.approx([1.4824, 1.5398], abs=1e-4)
    assert row["speedup"] == pytest.approx(2.3992 / 1.5096)
    assert row["parameters_less"] == pytest.approx(1 - 18_996 / 29_492)


def test_rows_say_what_a_model_was_planned_for() -> None:
    rows = {row["stage"]: row for row in family_rows(budget_family())}
    assert json.loads(json.dumps(rows)) == rows
    planned = rows["budget-1.3ms"]
    assert (planned["budget_ms"], planned["predicted_ms"], planned["on_front"]) == (1.3, 1.31, True)
    assert planned["energy_mj"] == pytest.approx(2.5 * 1.27)
    assert (planned["features"], planned["states"]) == (None, [64, 64, 32, 16])
    assert rows["budget-0.8ms"]["features"] == 20
    (other,) = planned["other_devices"]
    assert (other["device"], other["p50_ms"]) == ("Orin Nano (invented)", pytest.approx(3 * 1.27))
    by_rate = rows["rate-0.50"]
    assert (by_rate["budget_ms"], by_rate["predicted_ms"], by_rate["on_front"]) == (None, None, False)
    assert rows["unpruned"]["on_front"] is False


def test_whether_a_model_is_on_the_front_is_unknown_without_its_latency() -> None:
    assert family_rows(family(unpruned(latency=None)))[0]["on_front"] is None
    assert family_rows(family(unpruned(latency=None)))[0]["energy_mj"] is None


def test_a_budget_met_without_pruning_is_not_the_unpruned_model() -> None:
    free = budget_trial(1.9).model_copy(update={"rate": 0.0})
    rows = family_rows(family(free, unpruned()))
    assert [row["stage"] for row in rows] == ["unpruned", "budget-1.9ms"]
    assert rows[1]["speedup"] == pytest.approx(2.3992 / 1.88)


@pytest.mark.parametrize("devices", [1, 2])
def test_budgets_devices_and_energy_fit_80_columns(devices: int) -> None:
    sample = budget_family(**({} if devices == 2 else {"other_devices": ()}))
    chosen = next(each for each in sample.kept() if each.stage == "budget-1.3ms")
    shown = printed(sample, budget_ms=1.3, chosen=chosen)
    for words in ("budget 0.8 ms", "89.8 % pruned", "chosen, 57 %", "Energy", "1.25-1.30"):
        assert words in shown
    assert ("3.74-3.89" in shown) is (devices == 2)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_only_the_chosen_trial_is_marked() -> None:
    sample = family()
    rows = family_rows(sample, chosen=kept_at(sample, 0.7))
    assert [row["rate"] for row in rows if row["chosen"]] == [0.7]
    assert not any(row["chosen"] for row in family_rows(sample))


def test_what_was_not_measured_is_none() -> None:
    row = family_rows(family(unpruned(latency=None)), budget_ms=1.0)[0]
    for name in ("p50_ms", "p50_interval_ms", "p95_ms", "p95_interval_ms", "speedup", "within_budget"):
        assert row[name] is None


def test_no_speedup_without_an_unpruned_latency() -> None:
    sample = family(unpruned(latency=None), trial(0.3, 7, KEPT_PER_LAYER[0.3], 0.9, kept=True))
    assert [row["speedup"] for row in family_rows(sample)] == [None, None]


def test_the_table_fits_80_columns_whole() -> None:
    sample = family()
    shown = printed(sample, budget_ms=1.6, chosen=kept_at(sample, 0.5))
    for words in ("50 %", "chosen", "64", "95.3", "1.51", "1.48-1.54", "1.59x", "18,996", "-36 %", "2.64 M"):
        assert words in shown
    assert "budget 1.6 ms: 3 of 5 models fit" in shown
    assert "…" not in shown


def test_errors_stand_below_the_table_as_they_are() -> None:
    failed = trial(0.3, 7, KEPT_PER_LAYER[0.3], None, latency=None, error="[bold]out of memory[/bold]")
    shown = printed(family(unpruned(latency=None, error="agent: timed out"), failed))
    assert "unpruned: agent: timed out" in shown
    assert "30 % pruned, seed 7: [bold]out of memory[/bold]" in shown
    assert "failed" in shown


def test_markup_in_a_name_is_text() -> None:
    assert "[red]x[/red]" in printed(family(dataset="[red]x[/red]"))


@pytest.mark.parametrize(
    ("value_ms", "shown"),
    [(0.01234, "0.0123"), (0.801, "0.801"), (2.4, "2.40"), (12.34, "12.3"), (123.4, "123")],
)
def test_milliseconds_have_three_digits(value_ms: float, shown: str) -> None:
    assert written.milliseconds(value_ms) == shown


def test_an_interval_has_the_decimals_of_its_value() -> None:
    assert written.interval(9.9, (9.7, 10.2)) == "9.70-10.20"


def test_a_model_on_the_budget_is_within_it() -> None:
    assert family_rows(family(unpruned(latency=latency(2.0))), budget_ms=2.0)[0]["within_budget"] is True
