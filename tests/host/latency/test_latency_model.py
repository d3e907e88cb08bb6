from __future__ import annotations

from pathlib import Path

import pytest

from edge_s4op.errors import CheckpointError
from edge_s4op.messages import MeasurementSettings
from host.latency import LatencyModel, Observation
from host.latency.learn import learn_curve
from host.latency.store import load_latency_model, read_latency_models, save_latency_model
from tests.host.latency.curves import SHAPE, Bench, straight

CURVES = {"layer": learn_curve(SHAPE, Bench(straight))}
FULL = (64, 64, 64)
SETTINGS = MeasurementSettings()


def model(*observations: tuple[tuple[int, ...], float]) -> LatencyModel:
    seen = [Observation(kept_counts=counts, p50_ms=p50_ms) for counts, p50_ms in observations]
    return LatencyModel.fitted("f" * 64, SETTINGS, ["layer"] * 3, CURVES, seen)


def test_one_measurement_gives_the_base() -> None:
    found = model((FULL, 20.0))
    assert (found.scale, found.base_ms) == (1.0, pytest.approx(20 - 3 * straight(64)))
    assert found.predict_ms(FULL) == pytest.approx(20)
    assert found.predict_ms((1, 32, 64)) == pytest.approx(
        found.base_ms + straight(1) + straight(32) + straight(64)
    )


def test_the_last_measurement_is_predicted_exactly_and_shows_the_scale() -> None:
    """A device on which layers take 1.4 times as long inside the model as alone, base 5 ms."""
    truth = {counts: 5 + 1.4 * sum(map(straight, counts)) for counts in (FULL, (8, 8, 8), (30, 10, 2))}
    found = model((FULL, truth[FULL]))
    for counts, p50_ms in list(truth.items())[1:]:
        found = found.corrected(counts, p50_ms)
        assert found.predict_ms(counts) == pytest.approx(p50_ms)
    assert found.scale == pytest.approx(1.4, abs=0.2)
    assert found.predict_ms((20, 20, 20)) == pytest.approx(5 + 1.4 * 3 * straight(20), rel=0.05)


def test_layers_that_took_longer_alone_than_together_still_predict_times() -> None:
    found = model((FULL, 3.0))
    assert found.predict_ms(FULL) == pytest.approx(3.0)
    assert found.predict_ms((1, 1, 1)) == pytest.approx(0.05 * 3.0)
    assert 0 < found.predict_ms((30, 30, 30)) < 3.0


def test_absurd_measurements_do_not_turn_the_curve_over() -> None:
    found = model((FULL, 20.0), ((1, 1, 1), 25.0))
    assert found.scale >= 0.25
    assert found.predict_ms((32, 32, 32)) > found.predict_ms((1, 1, 1))


def test_a_model_survives_its_file_and_belongs_to_its_device(tmp_path: Path) -> None:
    found = model((FULL, 20.0))
    save_latency_model(tmp_path, found)
    assert load_latency_model(tmp_path, "f" * 64, SETTINGS, found.layers) == found
    assert read_latency_models(tmp_path) == (found,)
    others = SETTINGS.model_copy(update={"threads": 2})
    assert load_latency_model(tmp_path, "e" * 64, SETTINGS, found.layers) is None
    assert load_latency_model(tmp_path, "f" * 64, others, found.layers) is None
    assert load_latency_model(tmp_path, "f" * 64, SETTINGS, found.layers, key=["wider"]) is None


def test_a_file_that_is_no_latency_model_is_named(tmp_path: Path) -> None:
    path = save_latency_model(tmp_path, model((FULL, 20.0)))
    path.write_text(path.read_text()[:-40])
    with pytest.raises(CheckpointError, match=rf"{path.name}: not a latency model.*learned again"):
        read_latency_models(tmp_path)


def test_a_file_under_another_devices_name_is_not_used(tmp_path: Path) -> None:
    found = model((FULL, 20.0))
    theirs = save_latency_model(tmp_path, found.model_copy(update={"device_fingerprint": "e" * 64}))
    theirs.rename(save_latency_model(tmp_path, found))
    with pytest.raises(CheckpointError, match=r"another device.*delete the file"):
        load_latency_model(tmp_path, "f" * 64, SETTINGS, found.layers)


def test_a_file_of_a_later_version_is_not_read(tmp_path: Path) -> None:
    path = save_latency_model(tmp_path, model((FULL, 20.0)))
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(CheckpointError, match="of this version"):
        read_latency_models(tmp_path)
