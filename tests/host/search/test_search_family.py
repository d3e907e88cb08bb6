from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_s4op.errors import BudgetError, DataError, MeasurementError
from edge_s4op.messages import DeviceFacts, Interval
from host.family import Family, Latency, Trial, read_family, select, write_family
from host.models import ModelConfig
from host.pruning import PrunePlan
from host.pruning.schedules import stage_name

DEVICE = DeviceFacts(
    board="PC",
    cpu="a cpu",
    cores=2,
    governor=None,
    memory_bytes=1 << 30,
    os="an os",
    versions={"edge-s4op": "0.1.0"},
    backends=("onnxruntime",),
    fingerprint="f" * 64,
)


def latency(p50_ms: float) -> Latency:
    return Latency(
        p50_ms=p50_ms,
        p95_ms=2 * p50_ms,
        p50_interval_ms=Interval(low=0.9 * p50_ms, high=1.1 * p50_ms),
        p95_interval_ms=Interval(low=p50_ms, high=3 * p50_ms),
        confidence=0.95,
        iterations=100,
        stopped_by="precision",
        backend="onnxruntime",
        backend_version="1",
        threads=1,
        batch=1,
        device_fingerprint=DEVICE.fingerprint,
        measurement_id="job",
    )


def trial(rate: float, validation: float, p50_ms: float | None, **changes: object) -> Trial:
    fields: dict[str, object] = {
        "stage": stage_name(rate),
        "rate": rate,
        "seed": None if rate == 0 else 7,
        "plan": PrunePlan.full((4, 4)),
        "validation_accuracy": validation,
        "latency": None if p50_ms is None else latency(p50_ms),
        "parameters": 10,
        "macs": 100,
        "seconds": 1.5,
        "kept": True,
        "model": f"keep-{1 - rate:.2f}",
    }
    return Trial(**(fields | changes))


def family(*trials: Trial) -> Family:
    return Family(
        model_kind="s4d",
        dataset="ucr:GunPoint",
        config=ModelConfig(kind="s4d", d_input=1, num_classes=2, seq_len=8, d_model=4, depth=2),
        options={"rates": [0.5]},
        device=DEVICE,
        models={t.model: f"models/{t.model}" for t in trials if t.model},
        trials=trials,
    )


FAMILY = family(
    trial(0, 0.95, 10), trial(0.3, 0.97, 8, test_accuracy=0.5), trial(0.5, 0.90, 6), trial(0.7, 0.90, 4)
)


@pytest.mark.parametrize(
    ("budget_ms", "rate"), [(100, 0.3), (10, 0.3), (8, 0.3), (7.99, 0.7), (6, 0.7), (4, 0.7)]
)
def test_the_most_accurate_model_within_the_budget_and_of_equals_the_fastest(
    budget_ms: float, rate: float
) -> None:
    assert select(FAMILY, budget_ms).rate == rate


def test_the_test_split_has_no_say() -> None:
    better_on_test = FAMILY.trials[2].model_copy(update={"test_accuracy": 1.0})
    assert select(family(*FAMILY.trials[:2], better_on_test), 10).rate == 0.3


def test_a_candidate_that_was_not_kept_cannot_be_chosen() -> None:
    loser = trial(0.7, 0.99, 1, kept=False, model=None)
    assert select(family(*FAMILY.trials, loser), 100).validation_accuracy == 0.97
    with pytest.raises(BudgetError):
        select(family(*FAMILY.trials, loser), 2)


def test_a_budget_below_every_model_says_the_smallest_p50() -> None:
    with pytest.raises(BudgetError, match="4 ms, the smallest reached") as caught:
        select(FAMILY, 3.9)
    assert caught.value.smallest == 4


def test_an_unmeasured_model_never_fits() -> None:
    unmeasured = trial(0.5, 1.0, None, error="measurement 1 failed: out of memory")
    assert select(family(*FAMILY.trials, unmeasured), 100).rate == 0.3
    with pytest.raises(MeasurementError, match="out of memory"):
        select(family(unmeasured), 100)


def test_a_family_survives_its_file(tmp_path: Path) -> None:
    path = write_family(FAMILY, tmp_path)
    assert read_family(path) == read_family(tmp_path) == FAMILY


def test_the_file_is_plain_json_as_documented(tmp_path: Path) -> None:
    content = json.loads(write_family(FAMILY, tmp_path).read_text())
    assert content["schema_version"] == 2
    assert content["models"]["keep-0.70"] == "models/keep-0.70"
    second = content["trials"][1]
    assert second["plan"] == {"num_channels": [4, 4], "kept": [[0, 1, 2, 3]] * 2}
    assert second["latency"]["p50_interval_ms"] == pytest.approx({"low": 7.2, "high": 8.8})


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema_version": 2}'])
def test_a_malformed_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "family.json").write_text(content)
    with pytest.raises(DataError, match=r"family\.json: not a family"):
        read_family(tmp_path)


def test_a_plan_that_keeps_nothing_is_malformed_too(tmp_path: Path) -> None:
    broken = FAMILY.model_dump(mode="json")
    broken["trials"][0]["plan"]["kept"][0] = []
    (tmp_path / "family.json").write_text(json.dumps(broken))
    with pytest.raises(DataError, match="not a family"):
        read_family(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_family(tmp_path / "nowhere")
