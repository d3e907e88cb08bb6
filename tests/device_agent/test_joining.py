"""How many requests are joined where nobody has said."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx
import numpy as np
import pytest

from device_agent.device import Device, local_device
from device_agent.joining import best_batch, time_runs_s
from device_agent.warming import warm
from edge_s4op.artifact import Artifact
from edge_s4op.messages import ServeRequest
from edge_s4op.runtime import Array
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import serve
from tests.device_agent.runners import HeldRunner, wanted
from tests.device_agent.test_family_agent import put


class ClockedRunner:
    """A run of n rows takes `fixed_s` + n `row_s` on its own clock, every third one half a second longer."""

    backend, backend_version = "onnxruntime", "1"

    def __init__(self, fixed_s: float, row_s: float, artifact: Artifact | None = None) -> None:
        self.manifest = (artifact or scaling_artifact()).manifest
        self.fixed_s, self.row_s, self.now_s = fixed_s, row_s, 0.0
        self.rows: list[int] = []

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Array]:
        rows = len(feeds["x"])
        self.rows.append(rows)
        self.now_s += self.fixed_s + rows * self.row_s + (len(self.rows) % 3 == 1) / 2
        return {}

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("fixed_s", "row_s", "best"),
    [
        (1e-3, 1e-6, 8),
        (0.0, 1e-3, 1),
        (3e-4, 1e-3, 4),  # a row takes 1.30, 1.15, 1.075, 1.0375 ms: 8 is only 3.5 % better than 4
        (0.2, 1e-3, 1),  # so slow that nobody is to wait for others
    ],
)
def test_requests_are_joined_as_far_as_a_row_gets_cheaper(fixed_s: float, row_s: float, best: int) -> None:
    runner = ClockedRunner(fixed_s, row_s)
    assert best_batch(runner, lambda: runner.now_s) == best


def test_sizes_are_tried_only_as_long_as_they_gain() -> None:
    runner = ClockedRunner(0.0, 1e-3)
    best_batch(runner, lambda: runner.now_s)
    assert set(runner.rows) == {1, 2}


def test_a_time_is_of_the_fastest_run_and_of_three_at_least() -> None:
    runner = ClockedRunner(0.01, 0.02)
    assert time_runs_s(runner, [2, 3], lambda: runner.now_s, 50, longest_s=0.1) == pytest.approx([0.05, 0.07])
    assert runner.rows == [2, 3, 2, 3, 2, 3]


def test_a_slow_model_is_run_once() -> None:
    runner = ClockedRunner(5.0, 0.0)
    assert best_batch(runner, lambda: runner.now_s) == 1
    assert runner.rows == [1]


def test_a_model_without_a_batch_axis_is_not_even_run() -> None:
    artifact = scaling_artifact()
    fixed = artifact.manifest.model_copy(
        update={
            "inputs": tuple(info.model_copy(update={"shape": (1, 3)}) for info in artifact.manifest.inputs)
        }
    )
    runner = ClockedRunner(1e-3, 1e-6)
    runner.manifest = fixed
    assert (best_batch(runner), runner.rows) == (1, [])


class SleepingRunner(ClockedRunner):
    """A run takes two milliseconds, however many rows it has."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Array]:
        time.sleep(0.002)
        return super().run(feeds)


@pytest.mark.parametrize(
    ("backend", "asked", "found"),
    [("onnxruntime", None, 8), ("onnxruntime", 3, 3), ("tensorrt", None, 1), ("tensorrt", 3, 3)],
)
def test_what_was_asked_for_stays_and_other_backends_join_nothing(
    backend: str, asked: int | None, found: int
) -> None:
    runner = SleepingRunner(1e-3, 1e-6)
    runner.backend = backend
    request = ServeRequest(artifact_sha256="0" * 64, max_batch=asked)
    assert warm(runner, request, lambda: False).max_batch == found


def test_what_was_found_is_told_and_what_was_asked_stays_remembered(http: httpx.Client) -> None:
    told = serve(http, "m", scaling_artifact()).json()
    assert told["serving"]["max_batch"] is None
    assert told["max_batch"] in (1, 2, 4, 8)
    assert http.get("/v1/models").json() == [told]
    assert http.get("/v2/models/m/config").json()["max_batch_size"] == told["max_batch"]
    assert serve(http, "m", scaling_artifact()).json() == told  # the same request: nothing is loaded again
    assert serve(http, "m", scaling_artifact(), max_batch=3).json()["max_batch"] == 3


@pytest.mark.parametrize("family", [False, True])
@pytest.mark.parametrize(("asked", "sizes"), [(None, [4, 3]), (8, [7])])
def test_runs_leave_some_unless_a_number_was_asked_for(
    start, asked: int | None, sizes: list[int], family: bool
) -> None:
    runner, here = HeldRunner(), local_device()
    runner.backend = "onnxruntime"
    http = start(device=Device(here.facts, here.backends, lambda *_: runner, here.measure))
    if family:
        assert put(http, "m", scaling_artifact(2.0), max_batch=asked).status_code == 200
    else:
        assert serve(http, "m", scaling_artifact(2.0), max_batch=asked).json()["max_batch"] == 8
    model = http.app.state.agent.serving.model("m")
    for number in range(20):  # one after the other: they leave when they are answered
        assert model.submit(wanted(number)).result(20).batch == 1
    runner.wait_for_runs(len(runner.batches))
    runner.open.clear()
    futures = [model.submit(wanted(0))]
    runner.wait_for_runs(1)
    begun = len(runner.batches)
    futures += [model.submit(wanted(number)) for number in range(1, 8)]
    runner.open.set()
    assert [future.result(20).outputs["y"][0, 0] for future in futures] == [2 * n for n in range(8)]
    assert [len(batch) for batch in runner.batches[begun:]] == sizes
