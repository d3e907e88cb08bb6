"""Measuring that is cancelled, fails or is refused: a reason, and nothing of it stays."""

from __future__ import annotations

import gc

import pytest

from edge_s4op.artifact import TensorInfo
from edge_s4op.errors import MeasurementError
from edge_s4op.profiler import CANCELLED, measure
from edge_s4op.runtime import open_runner
from tests.edge_s4op import tiny
from tests.edge_s4op.simulation import noisy, quiet, request, run


def test_transfers_cannot_be_left_out_where_nothing_is_transferred() -> None:
    with pytest.raises(MeasurementError, match="cannot leave transfers out"):
        run(quiet(), transfers=False)


@pytest.mark.parametrize("after", [0, 1, 60])
def test_a_measurement_can_be_cancelled(after: int) -> None:
    runner = noisy(sigma=0.5)
    with pytest.raises(MeasurementError) as caught:
        measure(runner, request(), clock=runner.clock, should_stop=lambda: len(runner.seen) >= after)
    assert caught.value.what == CANCELLED == str(caught.value)
    assert len(runner.seen) == after
    assert gc.isenabled()


@pytest.mark.parametrize(("fails_at", "when"), [(0, "during warm-up"), (45, "while sampling")])
def test_a_runner_that_fails_is_a_measurement_error_with_its_reason(fails_at: int, when: str) -> None:
    runner = quiet()
    runner.fails_at = fails_at
    with pytest.raises(MeasurementError, match=f"'onnxruntime' failed {when}: out of memory"):
        run(runner)
    assert gc.isenabled()


def test_an_error_of_the_caller_is_not_blamed_on_the_runner() -> None:
    runner = noisy()

    def full_disk(share: float) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        measure(runner, request(), clock=runner.clock, on_progress=full_disk)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_while_timing_and_is_restored(enabled: bool) -> None:
    runner = quiet()
    if not enabled:
        gc.disable()
    try:
        run(runner)
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
    assert not runner.gc_was_on


def test_another_backend_than_asked_for_is_not_measured() -> None:
    with pytest.raises(MeasurementError, match="expected tensorrt; found onnxruntime"):
        run(quiet(), backend="tensorrt")


def test_a_fixed_batch_is_not_measured_as_another() -> None:
    fixed = TensorInfo(name="input", datatype="FP32", shape=(1, tiny.SEQ_LEN, tiny.CHANNELS))
    runner = quiet()
    runner.manifest = tiny.manifest(fixed)
    assert run(runner)[0].iterations == 10
    with pytest.raises(MeasurementError, match="expected a batch of 2"):
        run(runner, batch=2)


def test_tokens_without_a_vocabulary_are_not_measured() -> None:
    runner = quiet()
    runner.manifest = tiny.manifest(TensorInfo(name="input", datatype="INT64", shape=(-1, 4)))
    with pytest.raises(MeasurementError, match=r"cannot make input.*vocab_size"):
        run(runner)


def test_a_real_run_that_fails_is_reported_with_onnxruntimes_words() -> None:
    with pytest.raises(MeasurementError, match=r"failed during warm-up: ONNX Runtime .*Reshape"):
        measure(open_runner(tiny.failing_artifact()), request())
