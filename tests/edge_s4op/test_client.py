"""AgentClient against a real agent: in this process, over a lossy connection, and killed."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from device_agent.agent import Agent, open_agent
from device_agent.app import create_app
from device_agent.device import Device, local_device
from device_agent.settings import Settings
from edge_s4op.client import AgentClient, RetryPolicy
from edge_s4op.errors import (
    AgentError,
    AgentRefusedError,
    AgentUnreachableError,
    BadInferenceInputError,
    MeasurementError,
    UsageError,
)
from edge_s4op.messages import Job, ServeRequest
from edge_s4op.profiler.device_lock import DEVICE_LOCK_VARIABLE
from edge_s4op.tensors_binary import HEADER_LENGTH
from edge_s4op.transport import json_body
from tests.device_agent.agent_helpers import agent_process, scaling_artifact
from tests.device_agent.fakes import Gate, gated_device, wait_until
from tests.edge_s4op.client_samples import ARTIFACT, QUICK

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette wants httpx2, which AgentClient does not use
    from fastapi.testclient import TestClient


class Lossy(httpx.BaseTransport):
    """Loses the next `requests` before they arrive, and the next `answers` after the work was done."""

    def __init__(self, inner: httpx.BaseTransport, requests: int = 0, answers: int = 0) -> None:
        self._inner, self.requests, self.answers = inner, requests, answers
        self.sent: list[str] = []
        self.inferences: list[httpx.Headers] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(f"{request.method} {request.url.path}")
        if request.url.path.endswith("/infer"):
            self.inferences.append(request.headers)
        if self.requests > 0:
            self.requests -= 1
            raise httpx.ConnectError("connection refused", request=request)
        response = self._inner.handle_request(request)
        if self.answers > 0:
            self.answers -= 1
            raise httpx.ReadError("connection reset", request=request)
        return response


@pytest.fixture(autouse=True)
def _own_device_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE_LOCK_VARIABLE, str(tmp_path / "device.lock"))


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return open_agent(Settings(data_dir=tmp_path / "data"))


@pytest.fixture
def http(agent: Agent) -> Iterator[TestClient]:
    with TestClient(create_app(agent)) as client:
        yield client


@pytest.fixture
def client(http: TestClient) -> AgentClient:
    return AgentClient(http)


@pytest.fixture
def lossy(http: TestClient) -> Lossy:
    return Lossy(http._transport)


def lossy_client(lossy: Lossy, pauses: list[float] | None = None) -> AgentClient:
    http = httpx.Client(transport=lossy, base_url="http://agent")
    return AgentClient(http, sleep=(pauses if pauses is not None else []).append)


def test_the_whole_way_from_a_file_to_its_latency_and_its_answers(client: AgentClient) -> None:
    assert client.health()
    assert client.device().backends
    seen: list[Job] = []

    result = client.measure(ARTIFACT, QUICK, on_progress=seen.append, poll_s=0.01)

    assert result.request == QUICK.model_copy(update={"backend": "onnxruntime"})
    assert result.device_fingerprint == client.device().fingerprint
    assert seen[-1].state == "succeeded"
    assert len(client.samples(seen[-1].id).samples_ms) == result.iterations
    assert [job.id for job in client.jobs()] == [seen[-1].id]
    assert [info.sha256 for info in client.artifacts()] == [ARTIFACT.sha256]

    assert client.serve("m", ServeRequest(artifact_sha256=ARTIFACT.sha256)).ready
    x = np.array([[0.1, -2, 3]], dtype=np.float32)
    outputs = client.infer("m", {"x": x})
    assert set(outputs) == {"y", "z"}
    np.testing.assert_array_equal(outputs["y"], 2 * x)
    np.testing.assert_array_equal(outputs["z"], -2 * x)
    assert [model.name for model in client.served()] == ["m"]
    client.unserve("m")
    assert client.served() == []


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
def test_inference_keeps_dtype_shape_and_bits(client: AgentClient, dtype: type) -> None:
    datatype = {np.float32: "FP32", np.float16: "FP16", np.int64: "INT64"}[dtype]
    artifact = scaling_artifact(3, datatype=datatype)
    client.put_artifact(artifact)
    client.serve("m", ServeRequest(artifact_sha256=artifact.sha256))
    x = (np.arange(12) / (1 if dtype is np.int64 else 7)).astype(dtype).reshape(4, 3)
    y = client.infer("m", {"x": x})["y"]
    assert (y.dtype, y.shape) == (x.dtype, x.shape)
    np.testing.assert_array_equal(y, x * dtype(3))


def test_tensors_travel_as_bytes_once_the_agent_has_shown_that_it_can(lossy: Lossy) -> None:
    client = lossy_client(lossy)
    client.put_artifact(ARTIFACT)
    client.serve("m", ServeRequest(artifact_sha256=ARTIFACT.sha256))
    x = np.array([[0.1, -2, 3]], dtype=np.float32)
    for _ in range(3):
        np.testing.assert_array_equal(client.infer("m", {"x": x})["y"], 2 * x)
    assert [HEADER_LENGTH in headers for headers in lossy.inferences] == [False, True, True]


def test_the_bytes_travel_once(lossy: Lossy) -> None:
    client = lossy_client(lossy)
    path = f"/v1/artifacts/{ARTIFACT.sha256}"
    assert client.put_artifact(ARTIFACT).size_bytes == len(ARTIFACT.content)
    assert lossy.sent == [f"GET {path}", f"PUT {path}"]
    client.put_artifact(ARTIFACT)
    assert lossy.sent[2:] == [f"GET {path}"]


@pytest.mark.parametrize("kind", ["requests", "answers"])
def test_lost_connections_are_bridged_and_nothing_happens_twice(lossy: Lossy, kind: str) -> None:
    pauses: list[float] = []
    client = lossy_client(lossy, pauses)
    client.put_artifact(ARTIFACT)
    setattr(lossy, kind, 3)
    job = client.submit(QUICK)
    assert pauses == [0.2, 0.4, 0.8]
    assert [known.id for known in client.jobs()] == [job.id]
    assert client.submit(QUICK).id != job.id  # another submission is another measurement
    for act in (
        lambda: client.put_artifact(scaling_artifact(9.0)),
        lambda: client.serve("m", ServeRequest(artifact_sha256=ARTIFACT.sha256)),
        lambda: client.infer("m", {"x": np.ones((1, 3), dtype=np.float32)}),
        lambda: client.wait(job.id),
        lambda: client.cancel(job.id),
    ):
        setattr(lossy, kind, 2)
        act()
        assert getattr(lossy, kind) == 0


def test_it_gives_up_after_its_retries(lossy: Lossy) -> None:
    pauses: list[float] = []
    lossy.requests = 100
    with pytest.raises(AgentUnreachableError, match=r"http://agent: connection refused.*s4op-agent"):
        lossy_client(lossy, pauses).device()
    assert pauses == [0.2, 0.4, 0.8, 1.6]
    assert len(lossy.sent) == 5


def test_delays_are_bounded() -> None:
    policy = RetryPolicy(retries=20, max_delay_s=3)
    assert max(policy.delay_s(attempt) for attempt in range(20)) == 3


def test_an_agent_that_dies_mid_measurement_is_an_error_naming_the_job(tmp_path: Path) -> None:
    request = QUICK.model_copy(update={"max_duration_ms": 60_000.0, "min_iterations": 1_000_000})
    seen: list[Job] = []
    with (
        agent_process(tmp_path / "data") as process,
        AgentClient.connect(process.url, retry=RetryPolicy(retries=2, first_delay_s=0.05)) as client,
    ):

        def kill_when_running(job: Job) -> None:
            seen.append(job)
            if job.state == "running":
                process.kill()

        with pytest.raises(AgentUnreachableError) as caught:
            client.measure(ARTIFACT, request, on_progress=kill_when_running, poll_s=0.02)
    assert seen[-1].state == "running"
    assert f"during measurement {seen[-1].id}" in str(caught.value)


def test_a_refusal_carries_status_and_the_agents_words(client: AgentClient) -> None:
    with pytest.raises(AgentRefusedError, match="upload it first") as caught:
        client.submit(QUICK)
    assert caught.value.status_code == 404
    with pytest.raises(AgentRefusedError, match="no model 'm'") as caught:
        client.infer("m", {"x": np.ones((1, 3), dtype=np.float32)})
    assert caught.value.status_code == 404
    client.put_artifact(ARTIFACT)
    client.serve("m", ServeRequest(artifact_sha256=ARTIFACT.sha256))
    with pytest.raises(AgentRefusedError, match="wrong shape") as caught:
        client.infer("m", {"x": np.ones((1, 4), dtype=np.float32)})
    assert caught.value.status_code == 400


def test_what_json_cannot_carry_is_never_sent(lossy: Lossy) -> None:
    client = lossy_client(lossy)
    for array in (np.array([[np.nan]], dtype=np.float32), np.ones((1, 3))):
        with pytest.raises(BadInferenceInputError):
            client.infer("m", {"x": array})
    assert lossy.sent == []


def test_a_name_cannot_leave_its_place_in_the_path(lossy: Lossy) -> None:
    client = lossy_client(lossy)
    with pytest.raises(AgentRefusedError):
        client.job("../device")
    assert "GET /v1/device" not in lossy.sent


def test_a_failed_measurement_is_an_error_with_its_reason(tmp_path: Path) -> None:
    def failing(*arguments: object) -> object:
        raise MeasurementError("the clock stood still")

    here = local_device()
    device = Device(here.facts, here.backends, here.open_runner, failing)
    with (
        TestClient(create_app(open_agent(Settings(data_dir=tmp_path), device))) as http,
        pytest.raises(MeasurementError, match="failed: the clock stood still"),
    ):
        AgentClient(http).measure(ARTIFACT, QUICK, poll_s=0.01)


def test_a_request_for_another_artifact_is_a_usage_error(client: AgentClient) -> None:
    with pytest.raises(UsageError, match="another artifact"):
        client.measure(scaling_artifact(7.0), QUICK)
    assert client.artifacts() == []


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def gated(tmp_path: Path, gate: Gate) -> Iterator[AgentClient]:
    with TestClient(create_app(open_agent(Settings(data_dir=tmp_path), gated_device(gate)))) as http:
        yield AgentClient(http)


def test_waiting_has_an_end(gated: AgentClient) -> None:
    gated.put_artifact(ARTIFACT)
    job = gated.submit(QUICK)
    began = time.monotonic()
    with pytest.raises(AgentError, match=f"{job.id}.*has not ended after 0.1 s; found it is"):
        gated.wait(job.id, poll_s=0.01, timeout_s=0.1)
    assert time.monotonic() - began < 2


def test_an_interrupted_measurement_is_cancelled_on_the_device(gated: AgentClient) -> None:
    def interrupt(job: Job) -> None:
        if job.state == "running":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gated.measure(ARTIFACT, QUICK, on_progress=interrupt, poll_s=0.01)
    wait_until(lambda: gated.jobs()[0].state == "cancelled")


def test_a_measurement_cancelled_by_another_is_an_error(gated: AgentClient, gate: Gate) -> None:
    def cancel() -> None:
        gate.entered.acquire(timeout=5)
        gated.cancel(gated.jobs()[0].id)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(MeasurementError, match="cancelled"):
        gated.measure(ARTIFACT, QUICK, poll_s=0.05)
    canceller.join()


def test_what_is_left_to_the_agent_is_not_sent() -> None:
    sent = json.loads(json_body(ServeRequest(artifact_sha256=ARTIFACT.sha256)))
    assert sent["artifact_sha256"] == ARTIFACT.sha256
    assert not {"backend", "timeout_ms", "default_priority"} & set(sent)
