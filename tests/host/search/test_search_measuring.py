from __future__ import annotations

from pathlib import Path

import pytest

from edge_s4op.errors import CheckpointError
from edge_s4op.messages import (
    Interval,
    LatencyStatistics,
    MeasurementRequest,
    MeasurementResult,
    MeasurementSettings,
)
from host.measuring import Measurement, MeasurementCache, MeasurementKey, key_of
from host.models import ModelConfig

CONFIG = ModelConfig(kind="s4d", d_input=1, num_classes=2, seq_len=16, d_model=8, depth=2)
SETTINGS = MeasurementSettings()
KEY = key_of(CONFIG, (8, 4), "device", SETTINGS)
FAILED = Measurement(job_id="1", error="out of memory")


def measured(key: MeasurementKey) -> Measurement:
    statistics = LatencyStatistics(
        **dict.fromkeys(("minimum", "maximum", "mean", "median", "p90", "p95", "p99"), 0.1 + 0.2),
        median_interval=Interval(low=0.2, high=0.4),
        p95_interval=Interval(low=0.2, high=0.4),
    )
    result = MeasurementResult(
        request=MeasurementRequest(artifact_sha256="0" * 64, **key.settings.model_dump()),
        device_fingerprint=key.device_fingerprint,
        backend_version="1",
        warmup_iterations=3,
        iterations=10,
        stopped_by="time",
        latency_ms=statistics,
        throughput_per_s=3.0,
        samples_sha256="0" * 64,
    )
    return Measurement(job_id="2", result=result)


def test_a_measurement_is_found_again_by_another_process(tmp_path: Path) -> None:
    MeasurementCache(tmp_path).put(KEY, measured(KEY))
    assert MeasurementCache(tmp_path).get(KEY) == measured(KEY)


def test_which_operators_are_kept_and_dropout_do_not_matter() -> None:
    other = CONFIG.model_copy(update={"kept": ((0, 1), (2, 3)), "dropout": 0.5})
    assert key_of(other, (8, 4), "device", SETTINGS) == KEY


@pytest.mark.parametrize(
    "other",
    [
        key_of(CONFIG, (4, 8), "device", SETTINGS),
        key_of(CONFIG, (8, 4), "another device", SETTINGS),
        key_of(CONFIG, (8, 4), "device", MeasurementSettings(threads=2)),
        key_of(CONFIG, (8, 4), "device", MeasurementSettings(backend="tensorrt")),
        key_of(CONFIG.model_copy(update={"seq_len": 17}), (8, 4), "device", SETTINGS),
        key_of(CONFIG.model_copy(update={"kind": "s4"}), (8, 4), "device", SETTINGS),
    ],
)
def test_anything_latency_depends_on_is_measured_anew(tmp_path: Path, other: MeasurementKey) -> None:
    cache = MeasurementCache(tmp_path)
    cache.put(KEY, measured(KEY))
    assert cache.get(other) is None


def test_a_failure_is_remembered_by_this_run_only(tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path)
    cache.put(KEY, FAILED)
    assert cache.get(KEY) == FAILED
    assert MeasurementCache(tmp_path).get(KEY) is None


def test_a_file_that_is_not_ours_is_named(tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path)
    cache.put(KEY, measured(KEY))
    path = tmp_path / f"{KEY.sha256()}.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="delete the file"):
        cache.get(KEY)
