"""The runner on a device that checks every handle and computes at the addresses it was given.

Here through the driver; test_pycuda.py runs this file and test_cuda_graphs.py once more, through PyCUDA.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_s4op.errors import BadInferenceInputError, BuildError, InferenceError
from edge_s4op.messages import MeasurementRequest
from edge_s4op.profiler.measure import measure
from edge_s4op.runtime import RunnerOptions
from edge_s4op.runtime.protocol import TimedRunner
from edge_s4op.runtime.tensorrt.cuda import gpu_facts, open_device
from edge_s4op.runtime.tensorrt.loading import load_engine
from edge_s4op.runtime.tensorrt.runner import TensorRTRunner
from tests.edge_s4op import tiny
from tests.edge_s4op.tensorrt.fake_runner import GENERATOR, floats, linear, open_fake, tokens

pytestmark = pytest.mark.usefixtures("trt")


@pytest.mark.parametrize("cuda_graph", [True, False])
@pytest.mark.usefixtures("no_leaks")
def test_every_batch_gives_its_own_outputs(driver: Path, cuda_graph: bool):
    runner, engine = open_fake(driver, cuda_graph=cuda_graph)
    batches = [1, 4, 1, 1, 4, 2, 2, 2, 4, 1]  # some eager, some captured afterwards, some replayed
    for batch in batches:
        feeds = floats(batch)
        np.testing.assert_allclose(runner.run(feeds)["logits"], linear(feeds)["logits"], rtol=1e-6)
    assert engine.runs == len(batches) + len(engine.captured)  # what is captured runs once more before
    assert runner.engine_info().cuda_graph is cuda_graph
    assert runner.engine_info().spin_wait
    runner.close()


@pytest.mark.parametrize(("spin_wait", "blocking"), [(None, 0), (True, 0), (False, 1)])
def test_the_host_waits_as_it_was_told(driver: Path, no_leaks: Any, spin_wait: bool | None, blocking: int):
    made = ctypes.c_int.in_dll(no_leaks, "fake_blocking_events")
    before = made.value
    runner, _ = open_fake(driver, spin_wait=spin_wait)
    feeds = floats(1)
    np.testing.assert_allclose(runner.run(feeds)["logits"], linear(feeds)["logits"], rtol=1e-6)
    assert runner.engine_info().spin_wait is (spin_wait is not False)
    assert made.value - before == blocking
    runner.close()


@pytest.mark.usefixtures("no_leaks")
def test_outputs_are_the_callers_own(driver: Path):
    runner, _ = open_fake(driver)
    first = runner.run(floats(2))["logits"]
    kept = first.copy()
    runner.run(floats(2))
    np.testing.assert_array_equal(first, kept)
    runner.close()


@pytest.mark.usefixtures("no_leaks")
def test_integer_inputs_keep_their_type(driver: Path):
    runner, _ = open_fake(driver, tiny.token_artifact(), tokens)
    feeds = {"input": GENERATOR.integers(0, 5, (3, tiny.SEQ_LEN)), "lengths": np.array([1, 2, 4])}
    np.testing.assert_allclose(runner.run(feeds)["logits"], tokens(feeds)["logits"], rtol=1e-6)
    runner.close()


@pytest.mark.usefixtures("no_leaks")
def test_a_batch_the_engine_was_not_built_for_is_refused(driver: Path):
    runner, _ = open_fake(driver)
    with pytest.raises(BadInferenceInputError, match="at most 4"):
        runner.run(floats(5))
    assert runner.run(floats(4))["logits"].shape == (4, tiny.CLASSES)
    runner.close()


@pytest.mark.usefixtures("no_leaks")
def test_parts_are_told_apart(driver: Path):
    def slow(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        threading.Event().wait(0.02)
        return linear(feeds)

    runner, _ = open_fake(driver, compute=slow)
    with pytest.raises(InferenceError, match="no run"):
        runner.part_times()
    runner.run(floats(1))
    parts = runner.part_times()
    assert 20 <= parts.compute_ms < 1000
    assert 0 <= parts.h2d_ms < 20
    assert 0 <= parts.d2h_ms < 20
    assert parts.enqueue_ms >= 19  # this device computes while it is launched
    runner.close()


@pytest.mark.usefixtures("no_leaks")
def test_a_measurement_has_the_parts_and_the_engine(driver: Path):
    runner, _ = open_fake(driver)
    assert isinstance(runner, TimedRunner)
    request = MeasurementRequest(
        artifact_sha256=tiny.linear_artifact().sha256,
        backend="tensorrt",
        batch=2,
        warmup_ms=5,
        min_duration_ms=0,
        max_duration_ms=30,
    )
    result = measure(runner, request, device_fingerprint="f").result
    assert result.parts is not None
    assert result.engine is not None
    assert result.engine.note == "no plugin here"
    assert result.engine.cuda_graph
    inside = result.parts.h2d_ms.median + result.parts.compute_ms.median + result.parts.d2h_ms.median
    assert 0 < inside <= result.latency_ms.p99
    assert result == type(result).model_validate_json(result.model_dump_json())
    runner.close()


@pytest.mark.usefixtures("no_leaks")
def test_a_layer_profile_has_our_names_and_disturbs_nothing(driver: Path):
    runner, _ = open_fake(driver)
    feeds = floats(2)
    before = runner.run(feeds)["logits"]
    layers = runner.layers(feeds)
    assert (layers.source, layers.runs, layers.total_ms) == ("TensorRT IProfiler", 20, 1.0)
    assert [(row.name, row.median_ms, row.share) for row in layers.layers] == [
        ("fused_1", 0.5, 0.5),
        ("reformat_2", 0.5, 0.5),
    ]
    np.testing.assert_array_equal(runner.run(feeds)["logits"], before)
    runner.close()


@pytest.mark.usefixtures("no_leaks")
def test_threads_take_turns(driver: Path):
    runner, _ = open_fake(driver)
    right: list[bool] = []

    def work(batch: int) -> None:
        for _ in range(30):
            feeds = floats(batch)
            right.append(np.allclose(runner.run(feeds)["logits"], linear(feeds)["logits"], rtol=1e-5))

    threads = [threading.Thread(target=work, args=(batch,)) for batch in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert right == [True] * 90  # none raised either
    runner.close()


@pytest.mark.usefixtures("no_leaks")
def test_a_closed_runner_says_so(driver: Path):
    runner, _ = open_fake(driver)
    runner.run(floats(1))
    runner.close()
    runner.close()
    for use in (lambda: runner.run(floats(1)), runner.part_times, lambda: runner.layers(floats(1))):
        with pytest.raises(InferenceError):
            use()


@pytest.mark.usefixtures("no_leaks")
def test_one_thread_opens_a_runner_and_another_closes_it(driver: Path):
    opened: list[TensorRTRunner] = []

    def use() -> None:
        runner, _ = open_fake(driver)
        runner.run(floats(1))
        opened.append(runner)

    def in_a_thread(work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)

    in_a_thread(use)
    opened.pop().close()
    use()
    in_a_thread(lambda: opened.pop().close())
    assert opened == []


def test_the_access_is_told(driver: Path, no_leaks: Any):
    device = open_device(str(driver))
    assert device.access == "driver"  # PyCUDA has a driver of its own choice
    device.close()


def test_no_memory_on_the_device_is_an_error_and_leaks_nothing(driver: Path, no_leaks: Any):
    no_leaks.setBudget(100)
    with pytest.raises(InferenceError, match=r"CUDA: cuMemAlloc(_v2)? failed: out of memory"):
        open_fake(driver, compute=linear)


@pytest.mark.usefixtures("no_leaks")
def test_an_engine_that_does_not_load_is_built_once_more_and_then_given_up(driver: Path, tmp_path: Path):
    if gpu_facts() is not None:
        pytest.skip("engines load where there is a GPU: a machine without one runs this")
    stages: list[str] = []
    options = RunnerOptions(engine_dir=tmp_path, on_progress=lambda stage, _: stages.append(stage))
    device = open_device(str(driver))
    with pytest.raises(BuildError, match="does not load the engine it built") as caught:
        load_engine(tiny.linear_artifact(), options, device)
    device.close()
    assert stages.count("reading model") == 2
    assert any("CUDA driver version is insufficient" in line for line in caught.value.log)


def test_the_gpu_is_described(driver: Path, no_leaks: Any, monkeypatch: pytest.MonkeyPatch):
    gpu = gpu_facts(str(driver))
    assert gpu is not None
    assert (gpu.name, gpu.compute_capability, gpu.cuda) == ("Fake Orin", "8.7", "12.6")
    assert (gpu.multiprocessors, gpu.memory_bytes) == (8, 8 << 30)
    monkeypatch.setenv("FAKE_CUDA_NO_GPU", "1")
    assert gpu_facts(str(driver)) is None
    with pytest.raises(InferenceError, match="the driver sees no GPU"):
        open_device(str(driver))


def test_no_driver_is_no_device():
    assert gpu_facts("libno-such-driver.so.1") is None
    with pytest.raises(InferenceError, match=r"no CUDA device.*cannot be loaded.*run this on the device"):
        open_device("libno-such-driver.so.1")
