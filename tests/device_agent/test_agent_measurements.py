"""The queue of measurements: one at a time, never twice, cancellable, honest about failures."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path
from typing import NoReturn

import httpx
import numpy as np
import pytest

from device_agent.device import Device, local_device
from device_agent.lease import DeviceLease
from edge_s4op.errors import MeasurementError
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import ended, quick, upload
from tests.device_agent.fakes import Gate, gated_device, wait_until


def test_a_measurement_is_accepted_run_and_kept_with_its_samples(http: httpx.Client) -> None:
    artifact = upload(http, scaling_artifact())
    answer = http.post("/v1/measurements", json=quick(artifact))
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/measurements/{answer.json()['id']}"

    job = ended(http, answer.json()["id"])

    assert (job.state, job.error, job.position, job.progress) == ("succeeded", None, None, 1.0)
    assert job.finished_at > job.created_at
    assert job.result.request == job.request
    assert job.result.device_fingerprint == http.get("/v1/device").json()["fingerprint"]
    samples = http.get(f"/v1/measurements/{job.id}/samples").json()["samples_ms"]
    raw = np.array(samples, dtype="<f8")
    assert len(samples) == job.result.iterations >= 20
    assert hashlib.sha256(raw.tobytes()).hexdigest() == job.result.samples_sha256
    assert raw.min() == job.result.latency_ms.minimum


def test_an_unknown_artifact_is_404(http: httpx.Client) -> None:
    answer = http.post("/v1/measurements", json=quick(scaling_artifact()))
    assert answer.status_code == 404
    assert "upload it first" in answer.json()["error"]
    assert http.get("/v1/measurements").json() == []


def test_an_unknown_backend_is_400_with_a_near_name(http: httpx.Client) -> None:
    artifact = upload(http, scaling_artifact())
    answer = http.post("/v1/measurements", json=quick(artifact, backend="onxruntime"))
    assert answer.status_code == 400
    assert "did you mean onnxruntime?" in answer.json()["error"]


def test_the_same_idempotency_key_is_the_same_measurement(http: httpx.Client) -> None:
    artifact = upload(http, scaling_artifact())
    headers = {"Idempotency-Key": "once"}
    first = http.post("/v1/measurements", json=quick(artifact), headers=headers).json()
    ended(http, first["id"])
    again = http.post("/v1/measurements", json=quick(artifact), headers=headers)
    assert again.status_code == 202
    assert again.json()["id"] == first["id"]
    assert again.json()["state"] == "succeeded"
    assert len(http.get("/v1/measurements").json()) == 1

    other = http.post("/v1/measurements", json=quick(artifact, threads=2), headers=headers)
    assert other.status_code == 409
    assert "used for another request" in other.json()["error"]
    unkeyed = http.post("/v1/measurements", json=quick(artifact)).json()
    assert unkeyed["id"] != first["id"]


def test_measurements_run_one_at_a_time_in_order(start) -> None:
    gate = Gate()
    http = start(device=gated_device(gate))
    artifacts = [upload(http, scaling_artifact(factor)) for factor in (1.0, 2.0, 3.0)]
    jobs = [http.post("/v1/measurements", json=quick(a)).json() for a in artifacts]
    assert gate.entered.acquire(timeout=5)

    now = [http.get(f"/v1/measurements/{job['id']}").json() for job in jobs]
    assert [job["state"] for job in now] == ["running", "queued", "queued"]
    assert [job["position"] for job in now] == [None, 0, 1]
    assert [job["progress"] for job in now] == [0.5, 0, 0]
    assert not gate.entered.acquire(timeout=0.1)
    listed = http.get("/v1/measurements", params={"limit": 2}).json()
    assert [job["id"] for job in listed] == [jobs[2]["id"], jobs[1]["id"]]

    gate.open.set()
    for job in jobs:
        assert ended(http, job["id"]).state == "succeeded"
    assert gate.order == [artifact.sha256 for artifact in artifacts]


def test_waiting_and_running_measurements_can_be_cancelled(start) -> None:
    gate = Gate()
    http = start(device=gated_device(gate))
    artifact = upload(http, scaling_artifact())
    running, waiting, last = (
        http.post("/v1/measurements", json=quick(artifact)).json()["id"] for _ in range(3)
    )
    assert gate.entered.acquire(timeout=5)

    answer = http.delete(f"/v1/measurements/{waiting}")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert http.delete(f"/v1/measurements/{running}").status_code == 200
    job = ended(http, running)
    assert (job.state, job.result) == ("cancelled", None)

    gate.open.set()
    assert ended(http, last).state == "succeeded"
    assert len(gate.order) == 2
    assert http.delete(f"/v1/measurements/{last}").json()["state"] == "succeeded"


def test_a_failure_is_told_and_the_queue_goes_on(start, caplog: pytest.LogCaptureFixture) -> None:
    here = local_device()
    failures = [RuntimeError("the board\nis on fire")]

    def failing(*arguments: object) -> object:
        if failures:
            raise failures.pop()
        return here.measure(*arguments)

    http = start(device=Device(here.facts, here.backends, here.open_runner, failing))
    artifact = upload(http, scaling_artifact())
    bad, good = (http.post("/v1/measurements", json=quick(artifact)).json()["id"] for _ in range(2))
    with caplog.at_level(logging.ERROR):
        job = ended(http, bad)
    assert (job.state, job.result) == ("failed", None)
    assert job.error == "RuntimeError: the board is on fire"
    assert ended(http, good).state == "succeeded"
    assert any(bad in r.getMessage() and r.exc_info for r in caplog.records)


def test_samples_of_an_unfinished_measurement_are_409(start) -> None:
    gate = Gate()
    http = start(device=gated_device(gate))
    artifact = upload(http, scaling_artifact())
    job = http.post("/v1/measurements", json=quick(artifact)).json()
    answer = http.get(f"/v1/measurements/{job['id']}/samples")
    assert answer.status_code == 409
    assert "no samples" in answer.json()["error"]


@pytest.mark.parametrize("path", ["", "/samples"])
def test_an_unknown_measurement_is_404(http: httpx.Client, path: str) -> None:
    answer = http.get(f"/v1/measurements/nothing{path}")
    assert answer.status_code == 404
    assert "nothing" in answer.json()["error"]


def test_a_measurement_waits_for_the_device(start) -> None:
    lease = DeviceLease()
    http = start(lease=lease)
    artifact = upload(http, scaling_artifact())
    with lease.hold("the test"):
        job = http.post("/v1/measurements", json=quick(artifact)).json()
        wait_until(lambda: http.get(f"/v1/measurements/{job['id']}").json()["state"] == "running")
        other = http.post("/v1/measurements", json=quick(artifact)).json()
        http.delete(f"/v1/measurements/{job['id']}")
        assert ended(http, job["id"]).state == "cancelled"
        wait_until(lambda: http.get(f"/v1/measurements/{other['id']}").json()["state"] == "running")
        assert http.get(f"/v1/measurements/{other['id']}").json()["progress"] == 0
    assert ended(http, other["id"]).state == "succeeded"


def test_a_clean_stop_puts_the_running_measurement_back(start) -> None:
    gate = Gate()
    http = start(device=gated_device(gate))
    artifact = upload(http, scaling_artifact())
    first, second = (http.post("/v1/measurements", json=quick(artifact)).json()["id"] for _ in range(2))
    assert gate.entered.acquire(timeout=5)
    http.__exit__(None, None, None)

    for _ in range(3):  # however often it is stopped: that is no failure of the measurement
        gate = Gate()
        http = start(device=gated_device(gate))
        assert gate.entered.acquire(timeout=5)
        assert http.get(f"/v1/measurements/{first}").json()["state"] == "running"
        assert http.get(f"/v1/measurements/{second}").json()["position"] == 0
        http.__exit__(None, None, None)

    http = start()
    assert ended(http, first).state == ended(http, second).state == "succeeded"


def test_a_run_that_outlives_a_clean_stop_is_queued_again_as_if_it_had_not_begun(
    start, tmp_path: Path
) -> None:
    here, entered, end = local_device(), threading.Event(), threading.Event()

    def deaf(*arguments: object) -> NoReturn:
        entered.set()
        end.wait(20)
        raise MeasurementError("ended at last")

    device = Device(here.facts, here.backends, here.open_runner, deaf)
    http = start(device=device)
    job_id = http.post("/v1/measurements", json=quick(upload(http, scaling_artifact()))).json()["id"]
    assert entered.wait(10)
    for number in range(3):  # more often than an agent may die during one measurement
        http.__exit__(None, None, None)
        entered.clear()
        # The lock of an agent that has ended is free; here its thread lives on and holds it.
        http = start(device=device, device_lock=tmp_path / f"{number}.lock")
        assert entered.wait(10)
        assert http.get(f"/v1/measurements/{job_id}").json()["state"] == "running"
    end.set()


def test_listing_measurements_reads_no_samples(http: httpx.Client) -> None:
    """A thousand measurements hold some hundred MB of samples."""
    job_id = http.post("/v1/measurements", json=quick(upload(http, scaling_artifact()))).json()["id"]
    ended(http, job_id)
    statements: list[str] = []
    database = http.app.state.agent.database
    with database.transaction() as connection:
        connection.set_trace_callback(statements.append)
    assert http.get("/v1/measurements").json()[0]["id"] == job_id
    assert http.get(f"/v1/measurements/{job_id}").json()["state"] == "succeeded"
    selects = [text for text in statements if text.startswith("SELECT")]
    assert len(selects) == 2
    assert not any("*" in text or "samples" in text for text in selects)
