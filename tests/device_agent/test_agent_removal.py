"""Removing model files: what is in use stays, what is gone can be sent again."""

from __future__ import annotations

from pathlib import Path

import httpx

from edge_s4op.client import AgentClient
from tests.device_agent import builder
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import ended, serve, submitted, upload
from tests.device_agent.builder import Builder
from tests.device_agent.fakes import Gate, gated_device, wait_until


def test_a_removed_file_is_gone_and_can_be_sent_again(http: httpx.Client, tmp_path: Path) -> None:
    artifact, other = upload(http, scaling_artifact(2.0)), upload(http, scaling_artifact(3.0))
    path = tmp_path / "data/artifacts" / f"{artifact.sha256}.onnx"
    assert path.exists()
    assert http.delete(f"/v1/artifacts/{artifact.sha256}").status_code == 204
    assert not path.exists()
    assert [info["sha256"] for info in http.get("/v1/artifacts").json()] == [other.sha256]
    assert http.get(f"/v1/artifacts/{artifact.sha256}").status_code == 404
    assert http.delete(f"/v1/artifacts/{artifact.sha256}").status_code == 404
    assert upload(http, artifact) is artifact
    assert serve(http, "m", artifact).status_code == 200


def test_a_served_file_stays(http: httpx.Client) -> None:
    artifact = scaling_artifact()
    serve(http, "m", artifact)
    answer = http.delete(f"/v1/artifacts/{artifact.sha256}")
    assert answer.status_code == 409
    assert "served as 'm'" in answer.json()["error"]
    http.delete("/v1/models/m")
    assert http.delete(f"/v1/artifacts/{artifact.sha256}").status_code == 204


def test_a_file_being_loaded_stays(start, tmp_path: Path) -> None:
    http = start(device=Builder(tmp_path, builder.NEVER_ENDS).device())
    artifact = scaling_artifact()
    headers = {"Prefer": "respond-async"}
    assert serve(http, "m", artifact, backend="builder", headers=headers).status_code == 202
    assert http.delete(f"/v1/artifacts/{artifact.sha256}").status_code == 409
    http.delete("/v1/models/m")
    assert http.delete(f"/v1/artifacts/{artifact.sha256}").status_code == 204


def test_a_file_that_is_to_be_measured_stays(start) -> None:
    gate = Gate()
    http = start(device=gated_device(gate))
    running, waiting = upload(http, scaling_artifact(2.0)), upload(http, scaling_artifact(3.0))
    jobs = [submitted(http, artifact) for artifact in (running, waiting)]
    assert gate.entered.acquire(timeout=5)
    for artifact, job_id in zip((running, waiting), jobs, strict=True):
        answer = http.delete(f"/v1/artifacts/{artifact.sha256}")
        assert answer.status_code == 409
        assert f"measurement {job_id}" in answer.json()["error"]
    gate.open.set()
    for job_id in jobs:
        assert ended(http, job_id).state == "succeeded"
    wait_until(lambda: http.delete(f"/v1/artifacts/{running.sha256}").status_code == 204)


def test_the_client_removes_files(http: httpx.Client) -> None:
    client = AgentClient(http)
    info = client.put_artifact(scaling_artifact())
    client.remove_artifact(info.sha256)
    assert client.artifacts() == []


def test_a_name_that_is_no_hash_is_400(http: httpx.Client) -> None:
    assert http.delete("/v1/artifacts/short").status_code == 400
