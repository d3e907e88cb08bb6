"""Serving: replaced without a gap, remembered, and honest about what cannot be loaded."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from device_agent.database import Database
from device_agent.device import Device, local_device
from device_agent.lease import DeviceLease
from edge_s4op.artifact import Artifact
from edge_s4op.errors import CorruptArtifactError
from edge_s4op.runtime import Array, Runner, RunnerOptions
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import first_output, infer, serve
from tests.device_agent.fakes import wait_until


def test_a_model_is_served_replaced_and_removed(http: httpx.Client) -> None:
    answer = serve(http, "m", scaling_artifact(2.0))
    assert answer.status_code == 200
    assert answer.json()["ready"]
    assert first_output(infer(http, "m")) == [2, 4, 6]
    assert serve(http, "m", scaling_artifact(2.0)).json() == answer.json()

    assert serve(http, "m", scaling_artifact(5.0)).status_code == 200
    assert first_output(infer(http, "m")) == [5, 10, 15]
    assert [model["name"] for model in http.get("/v1/models").json()] == ["m"]

    assert http.delete("/v1/models/m").status_code == 204
    assert http.get("/v1/models").json() == []
    assert infer(http, "m").status_code == 404
    answer = http.delete("/v1/models/m")
    assert answer.status_code == 404
    assert "no model 'm'" in answer.json()["error"]


def test_served_models_return_after_a_restart(start) -> None:
    http = start()
    serve(http, "a", scaling_artifact(2.0))
    serve(http, "b", scaling_artifact(3.0))
    serve(http, "gone", scaling_artifact(4.0))
    http.delete("/v1/models/gone")
    http.__exit__(None, None, None)

    http = start()
    wait_until(lambda: all(model["ready"] for model in http.get("/v1/models").json()))
    assert first_output(infer(http, "a")) == [2, 4, 6]
    assert first_output(infer(http, "b")) == [3, 6, 9]
    assert infer(http, "gone").status_code == 404


def test_a_restart_serves_what_was_served_however_requests_raced(
    start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replacing and removing at once: database and memory never disagree."""
    http = start()
    database = http.app.state.agent.database
    artifacts = [scaling_artifact(factor) for factor in (2.0, 3.0)]
    for artifact in artifacts:
        serve(http, "m", artifact)

    @contextlib.contextmanager
    def on_a_slow_disk() -> Iterator[sqlite3.Connection]:
        with Database.transaction(database) as connection:
            yield connection
        time.sleep(random.uniform(0, 0.005))

    def replace(artifact: Artifact) -> None:
        http.put("/v1/models/m", json={"artifact_sha256": artifact.sha256})

    monkeypatch.setattr(database, "transaction", on_a_slow_disk)
    for _ in range(20):
        replace(artifacts[0])
        with ThreadPoolExecutor(2) as threads:
            threads.submit(replace, artifacts[1])
            threads.submit(http.delete, "/v1/models/m")
        with database.transaction() as connection:
            rows = connection.execute("SELECT name, request FROM models").fetchall()
        remembered = {name: json.loads(request) for name, request in rows}
        assert remembered == {model["name"]: model["serving"] for model in http.get("/v1/models").json()}


def test_a_model_that_no_longer_loads_is_listed_with_its_error(start, tmp_path: Path) -> None:
    http = start()
    broken, whole = scaling_artifact(2.0), scaling_artifact(3.0)
    serve(http, "broken", broken)
    serve(http, "whole", whole)
    http.__exit__(None, None, None)
    path = tmp_path / "data/artifacts" / f"{broken.sha256}.onnx"
    path.write_bytes(broken.content[:100])

    http = start()
    wait_until(lambda: http.get("/v2/models/whole/ready").status_code == 200)
    models = {model["name"]: model for model in http.get("/v1/models").json()}
    assert not models["broken"]["ready"]
    assert "damaged" in models["broken"]["error"]
    assert http.get("/v2/health/ready").status_code == 200
    for answer in (infer(http, "broken"), http.get("/v2/models/broken/ready")):
        assert answer.status_code == 503
        assert "damaged" in answer.json()["error"]
        assert "Retry-After" not in answer.headers
    assert serve(http, "broken", broken).json()["ready"]
    assert first_output(infer(http, "broken")) == [2, 4, 6]


def test_a_model_being_loaded_is_503_and_asks_to_come_back(start) -> None:
    http = start()
    serve(http, "m", scaling_artifact())
    http.__exit__(None, None, None)
    here, let_go = local_device(), threading.Event()

    def slow_open(artifact: Artifact, backend: str, options: RunnerOptions) -> Runner:
        let_go.wait(10)
        return here.open_runner(artifact, backend, options)

    http = start(device=Device(here.facts, here.backends, slow_open, here.measure))
    answer = infer(http, "m")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert "being loaded" in answer.json()["error"]
    let_go.set()
    wait_until(lambda: infer(http, "m").status_code == 200)


def test_a_refused_replacement_leaves_the_old_model(start) -> None:
    here, refuse = local_device(), threading.Event()

    def choosy_open(artifact: Artifact, backend: str, options: RunnerOptions) -> Runner:
        if refuse.is_set():
            raise CorruptArtifactError("this device refuses it")
        return here.open_runner(artifact, backend, options)

    http = start(device=Device(here.facts, here.backends, choosy_open, here.measure))
    serve(http, "m", scaling_artifact(2.0))
    refuse.set()
    answer = serve(http, "m", scaling_artifact(3.0))
    assert answer.status_code == 400
    assert "this device refuses it" in answer.json()["error"]
    assert first_output(infer(http, "m")) == [2, 4, 6]


class Touchy:
    """A runner that must not be closed while it runs, nor run once it is closed."""

    def __init__(self, runner: Runner, complaints: list[str]) -> None:
        self._runner, self._complaints = runner, complaints
        self._busy = self._closed = False
        self.backend, self.backend_version = runner.backend, runner.backend_version
        self.manifest = runner.manifest

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Array]:
        if self._closed or self._busy:
            self._complaints.append("run while closed or busy")
        self._busy = True
        time.sleep(0.002)
        outputs = self._runner.run(feeds)
        self._busy = False
        return outputs

    def close(self) -> None:
        self._closed = True
        if self._busy:
            self._complaints.append("closed while busy")


def test_requests_survive_replacing_under_load(start) -> None:
    here = local_device()
    complaints: list[str] = []

    def touchy_open(artifact: Artifact, backend: str, options: RunnerOptions) -> Touchy:
        return Touchy(here.open_runner(artifact, backend, options), complaints)

    http = start(device=Device(here.facts, here.backends, touchy_open, here.measure))
    artifacts = [scaling_artifact(factor) for factor in (2.0, 3.0)]
    serve(http, "m", artifacts[0])
    answers: list[httpx.Response] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(infer(http, "m"))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(10):
        assert serve(http, "m", artifacts[turn % 2]).status_code == 200
    stop.set()
    for thread in threads:
        thread.join()
    results = {tuple(first_output(answer)) for answer in answers}
    assert results == {(2, 4, 6), (3, 6, 9)}
    assert complaints == []


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"artifact_sha256": "0" * 64}, 404, "upload it first"),
        ({"artifact_sha256": "short"}, 400, "artifact_sha256"),
        ({}, 400, "artifact_sha256: Field required"),
        ({"artifact_sha256": "0" * 64, "threads": 0}, 400, "threads"),
        ({"artifact_sha256": "0" * 64, "colour": "red"}, 400, "colour"),
    ],
)
def test_a_wrong_serve_request_names_the_field(
    http: httpx.Client, body: dict, status: int, text: str
) -> None:
    answer = http.put("/v1/models/m", json=body)
    assert answer.status_code == status
    assert text in answer.json()["error"]


def test_an_unknown_backend_is_refused_with_a_near_name(http: httpx.Client) -> None:
    artifact = scaling_artifact()
    http.put(f"/v1/artifacts/{artifact.sha256}", content=artifact.content)
    body = {"artifact_sha256": artifact.sha256, "backend": "onnx-runtime"}
    answer = http.put("/v1/models/m", json=body)
    assert answer.status_code == 400
    assert "did you mean onnxruntime?" in answer.json()["error"]


def test_a_bad_name_is_400(http: httpx.Client) -> None:
    answer = http.put("/v1/models/-bad", json={"artifact_sha256": "0" * 64})
    assert answer.status_code == 400
    assert "name" in answer.json()["error"]


def test_inference_waits_for_the_device_and_then_gets_503(start) -> None:
    lease = DeviceLease()
    http = start(lease=lease, lease_wait_s=0.2)
    serve(http, "m", scaling_artifact(2.0))
    with lease.hold("measurement 1"):
        answer = infer(http, "m")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert "measurement 1" in answer.json()["error"]
        assert infer(http, "unknown").status_code == 404
        assert http.get("/v2/health/ready").status_code == 200
    assert first_output(infer(http, "m")) == [2, 4, 6]


def test_waiting_inference_does_not_block_the_rest(start) -> None:
    lease = DeviceLease()
    http = start(lease=lease, lease_wait_s=60)
    serve(http, "m", scaling_artifact(2.0), max_queue=40)
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(infer(http, "m"))) for _ in range(60)]
    with lease.hold("the test"):
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answers) == 20)  # those for whom the queue has no room
        assert http.get("/v1/device").status_code == 200
        assert http.get("/v2/health/ready").status_code == 200
    for thread in threads:
        thread.join()
    codes = [answer.status_code for answer in answers]
    assert (codes.count(200), codes.count(503)) == (40, 20)
