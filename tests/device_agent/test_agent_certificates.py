"""Certificates that the agent gives: verified by who gets them, of the device as it was while measuring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from device_agent.device import local_device
from edge_s4op.client import AgentClient
from edge_s4op.errors import AgentRefusedError
from edge_s4op.messages import DeviceFacts
from edge_s4op.profiler.certificate import read_certificate, verify
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import ended, submitted, upload
from tests.device_agent.fakes import Gate, gated_device
from tests.device_agent.test_agent_migration import write_version_1


def test_a_certificate_is_verified_with_the_file_and_the_samples(http: httpx.Client) -> None:
    artifact = upload(http, scaling_artifact())
    job = ended(http, submitted(http, artifact, max_duration_ms=100, min_duration_ms=0))
    certificate = read_certificate(http.get(f"/v1/measurements/{job.id}/certificate").content)
    client = AgentClient(http)
    assert certificate == client.certificate(job.id)
    assert certificate.result == job.result
    assert certificate.device == client.device()
    samples_ms = np.array(client.samples(job.id).samples_ms)
    checked = verify(certificate, artifact=artifact.content, samples_ms=samples_ms)
    assert checked.passed, checked.failed
    assert not verify(certificate, samples_ms=samples_ms * 2).passed


def test_a_certificate_outlives_its_file(http: httpx.Client) -> None:
    artifact = upload(http, scaling_artifact())
    job = ended(http, submitted(http, artifact))
    http.delete(f"/v1/artifacts/{artifact.sha256}")
    certificate = AgentClient(http).certificate(job.id)
    assert certificate.artifact.sha256 == artifact.sha256
    assert verify(certificate).passed


def test_without_a_result_there_is_no_certificate(start) -> None:
    gate = Gate()
    http = start(device=gated_device(gate))
    job_id = submitted(http, upload(http, scaling_artifact()))
    assert gate.entered.acquire(timeout=10)
    with pytest.raises(AgentRefusedError, match="no certificate: it is running") as caught:
        AgentClient(http).certificate(job_id)
    assert caught.value.status_code == 409
    assert http.get("/v1/measurements/nothing/certificate").status_code == 404


def test_it_is_of_the_device_as_it_was_then(start) -> None:
    http = start()
    job = ended(http, submitted(http, upload(http, scaling_artifact())))
    before = AgentClient(http).device()
    http.__exit__(None, None, None)
    here = local_device()

    def changed() -> DeviceFacts:
        return here.facts().model_copy(update={"governor": "powersave", "fingerprint": "f" * 64})

    http = start(device=replace(here, facts=changed))
    assert AgentClient(http).device().fingerprint == "f" * 64
    assert AgentClient(http).certificate(job.id).device == before


def test_what_an_earlier_version_measured_is_certified_while_the_device_is_the_same(
    start, tmp_path: Path
) -> None:
    write_version_1(tmp_path / "data", local_device().facts().fingerprint)
    http = start()
    assert AgentClient(http).certificate("done").result.iterations == 3
    http.__exit__(None, None, None)

    write_version_1(tmp_path / "other", "0" * 64)
    answer = start(data_dir=tmp_path / "other").get("/v1/measurements/done/certificate")
    assert answer.status_code == 409
    assert "the device was another" in answer.json()["error"]
