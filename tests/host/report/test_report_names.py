from __future__ import annotations

import pytest

from host.report.names import device_names, stage_label, trial_name
from host.search.options import Budget
from tests.host.report.latency_samples import OTHER_DEVICE, budget_trial
from tests.host.report.report_samples import DEVICE, KEPT_PER_LAYER, family, trial, unpruned


@pytest.mark.parametrize(
    ("stage", "rate", "label"),
    [
        ("unpruned", 0.0, "unpruned"),
        ("rate-0.30", 0.3, "30 % pruned"),
        ("rate-0.125", 0.125, "12.5 % pruned"),
        (Budget(quantity="latency_ms", value=0.8).name, 0.4375, "budget 0.8 ms"),
        (Budget(quantity="latency_ratio", value=0.5).name, 0.0, "budget 0.5x"),
        (Budget(quantity="energy_mj", value=3).name, 0.4375, "budget 3 mJ"),
        (Budget(quantity="latency_ms", value=1e-5).name, 0.4375, "budget 1e-05 ms"),
        ("something-else", 0.4375, "something-else"),
    ],
)
def test_stages_are_named_by_what_was_asked(stage: str, rate: float, label: str) -> None:
    assert stage_label(stage, rate) == label


def test_trials_are_named_with_their_seed() -> None:
    assert trial_name(unpruned()) == "unpruned"
    assert trial_name(trial(0.5, 42, KEPT_PER_LAYER[0.5], 0.9)) == "50 % pruned, seed 42"
    assert trial_name(budget_trial(0.8)) == "budget 0.8 ms, seed 7"


def test_devices_are_told_apart_by_no_more_than_is_needed() -> None:
    same_board = DEVICE.model_copy(update={"cpu": "Other CPU", "fingerprint": "d" * 64})
    same_cpu = DEVICE.model_copy(update={"fingerprint": "c" * 64})
    assert device_names(family()) == ("PC (invented)",)
    assert device_names(family(other_devices=(OTHER_DEVICE,)))[1] == "Orin Nano (invented)"
    assert device_names(family(other_devices=(same_board,))) == (
        "PC (invented), Synthetic CPU 3000",
        "PC (invented), Other CPU",
    )
    assert device_names(family(other_devices=(same_cpu,)))[1] == "PC (invented), cccccccc"
