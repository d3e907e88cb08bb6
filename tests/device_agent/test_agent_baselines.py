"""Measurements of more than one load: against a baseline, and of a model loaded anew several times."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from device_agent.device import Device, local_device
from edge_s4op.errors import MeasurementError
from edge_s4op.messages import Disturbance
from edge_s4op.profiler.measure import Measured, samples_sha256
from edge_s4op.runtime import Runner, RunnerOptions
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import ended, job_of, quick, submitted, upload
from tests.device_agent.builder import Builder
from tests.device_agent.fakes import Gate, gated_device, wait_until


class Ledger:
    """This machine, with a list of what was opened, how, and whether it was closed."""

    def __init__(self, measure: object = None) -> None:
        self.here = local_device()
        self.opened: list[tuple[str, RunnerOptions]] = []
        self.open_now = 0
        self._measure = measure or self.here.measure

    def device(self) -> Device:
        return Device(self.here.facts, self.here.backends, self._open, self._measure)

    def _open(self, artifact, backend: str, options: RunnerOptions) -> Runner:
        self.opened.append((artifact.sha256, options))
        self.open_now += 1
        return _Counted(self.here.open_runner(artifact, backend, options), self)


class _Counted:
    def __init__(self, runner: Runner, ledger: Ledger) -> None:
        self._runner, self._ledger = runner, ledger
        self.backend, self.backend_version = runner.backend, runner.backend_version
        self.manifest, self.run = runner.manifest, runner.run

    def close(self) -> None:
        self._runner.close()
        self._ledger.open_now -= 1


def test_a_measurement_against_a_baseline_keeps_the_samples_of_both(start) -> None:
    ledger = Ledger()
    http = start(device=ledger.device())
    model, baseline = upload(http, scaling_artifact(2.0)), upload(http, scaling_artifact(3.0))
    job_id = submitted(http, model, baseline_sha256=baseline.sha256, threads=2)
    job = ended(http, job_id)
    assert job.state == "succeeded", job.error
    assert job.result.comparison.baseline_sha256 == baseline.sha256
    samples = http.get(f"/v1/measurements/{job_id}/samples").json()
    assert len(samples["samples_ms"]) == job.result.iterations
    baseline_ms = np.array(samples["baseline_samples_ms"])
    assert samples_sha256(baseline_ms) == job.result.comparison.baseline_samples_sha256
    assert [sha256 for sha256, _ in ledger.opened] == [model.sha256, baseline.sha256]
    assert {options.threads for _, options in ledger.opened} == {2}
    assert ledger.open_now == 0


def test_without_a_baseline_there_are_no_samples_of_one(http: httpx.Client) -> None:
    job_id = submitted(http, upload(http, scaling_artifact()))
    ended(http, job_id)
    assert http.get(f"/v1/measurements/{job_id}/samples").json()["baseline_samples_ms"] is None


def test_an_unknown_baseline_is_404(http: httpx.Client) -> None:
    artifact = upload(http, scaling_artifact())
    body = quick(artifact, baseline_sha256="0" * 64)
    answer = http.post("/v1/measurements", json=body)
    assert (answer.status_code, "0" * 64 in answer.json()["error"]) == (404, True)


def test_a_baseline_that_a_measurement_waits_for_stays(start) -> None:
    gate = Gate()
    http = start(device=gated_device(gate))
    model, baseline = upload(http, scaling_artifact(2.0)), upload(http, scaling_artifact(3.0))
    job_id = submitted(http, model, baseline_sha256=baseline.sha256)
    answer = http.delete(f"/v1/artifacts/{baseline.sha256}")
    assert answer.status_code == 409
    assert job_id in answer.json()["error"]
    gate.open.set()
    assert ended(http, job_id).state == "succeeded"
    wait_until(lambda: http.delete(f"/v1/artifacts/{baseline.sha256}").status_code == 204)


def test_a_failed_comparison_closes_both(start) -> None:
    def failing(*arguments: object) -> Measured:
        raise MeasurementError("the clock stood still")

    ledger = Ledger(failing)
    http = start(device=ledger.device())
    model, baseline = upload(http, scaling_artifact(2.0)), upload(http, scaling_artifact(3.0))
    job = ended(http, submitted(http, model, baseline_sha256=baseline.sha256))
    assert (job.state, job.error) == ("failed", "the clock stood still")
    assert (len(ledger.opened), ledger.open_now) == (2, 0)


def test_rebuilds_load_the_model_anew_and_say_how_far_the_medians_lie_apart(start) -> None:
    ledger = Ledger()
    http = start(device=ledger.device())
    job_id = submitted(http, upload(http, scaling_artifact()), rebuilds=3)
    job = ended(http, job_id)
    medians_ms = job.result.rebuilds.medians_ms
    assert len(medians_ms) == 3
    assert medians_ms[0] == job.result.latency_ms.median
    assert job.result.rebuilds.spread == pytest.approx(max(medians_ms) / min(medians_ms) - 1)
    assert [options.rebuild for _, options in ledger.opened] == [False, True, True]
    assert ledger.open_now == 0
    assert len(http.get(f"/v1/measurements/{job_id}/samples").json()["samples_ms"]) == job.result.iterations


def test_what_disturbed_any_of_the_builds_is_told(start) -> None:
    here, runs = local_device(), []

    def disturbed(*arguments: object) -> Measured:
        runs.append(arguments)
        measured = here.measure(*arguments)
        seen = Disturbance(kind="throttling", what=f"run {len(runs)} was hot")
        return Measured(measured.result.model_copy(update={"disturbed": (seen,)}), measured.samples_ms)

    http = start(device=Device(here.facts, here.backends, here.open_runner, disturbed))
    job = ended(http, submitted(http, upload(http, scaling_artifact()), rebuilds=2))
    told = [seen.what for seen in job.result.disturbed]
    assert told == ["run 1 was hot", "build 2 of 2: run 2 was hot"]


def test_progress_covers_all_builds_and_tells_which_is_built(start, tmp_path: Path) -> None:
    engines = Builder(tmp_path)
    seen: list[tuple[str, float | None]] = []
    http = start(device=engines.device())
    queue = http.app.state.agent.jobs
    note = queue.changes.progressed

    def noted() -> None:
        if queue._running is not None:
            seen.append(queue._running.at)
        note()

    queue.changes.progressed = noted
    job = ended(http, submitted(http, upload(http, scaling_artifact()), backend="builder", rebuilds=2))
    assert job.state == "succeeded", job.error
    stages = [stage for stage, _ in seen]
    assert "building engine" in stages
    assert "building engine, build 2 of 2" in stages
    shares = [share for stage, share in seen if stage == "measuring"]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.5 in shares


def test_cancelling_ends_it_between_builds(start) -> None:
    gate = Gate()
    http = start(device=gated_device(gate))
    job_id = submitted(http, upload(http, scaling_artifact()), rebuilds=20)
    assert gate.entered.acquire(timeout=10)
    http.delete(f"/v1/measurements/{job_id}")
    assert ended(http, job_id).state == "cancelled"
    assert len(gate.order) == 1


def test_the_modes_of_the_request_reach_the_runner(start) -> None:
    ledger = Ledger()
    http = start(device=ledger.device())
    artifact = upload(http, scaling_artifact())
    ended(http, submitted(http, artifact, spin_wait=True, cuda_graph=False))
    ended(http, submitted(http, artifact))
    modes = [(options.spin_wait, options.cuda_graph) for _, options in ledger.opened]
    assert modes == [(True, False), (RunnerOptions().spin_wait, RunnerOptions().cuda_graph)]
    assert job_of(http, http.get("/v1/measurements").json()[0]["id"]).state == "succeeded"
