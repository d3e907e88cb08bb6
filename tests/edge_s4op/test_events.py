"""Server-sent events as the client reads them: whole events, however the stream is cut up; then polling."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from device_agent.agent import open_agent
from device_agent.settings import Settings
from edge_s4op.client import AgentClient, RetryPolicy
from edge_s4op.errors import AgentError, AgentUnreachableError
from edge_s4op.events import ServerSentEvent, events_of
from edge_s4op.messages import Job, MeasurementRequest
from edge_s4op.profiler.device_lock import DEVICE_LOCK_VARIABLE
from tests.device_agent.agent_helpers import agent_process, scaling_artifact
from tests.device_agent.agent_requests import QUICK
from tests.device_agent.fakes import Gate, gated_device
from tests.device_agent.live import live
from tests.edge_s4op.servers import json_answer, scripted_server

ARTIFACT = scaling_artifact(2.0)
REQUEST = MeasurementRequest(artifact_sha256=ARTIFACT.sha256, **QUICK)
STREAM = (
    ': hello\n\nevent: job\nid: 1\ndata: {"a": "\u2028\x85"}\n\n'
    "data: one\r\ndata: two\r\n\r\nevent: empty\n\nevent: job\ndata:no blank\n\nevent: job\ndata: cut off"
)
EVENTS = [
    None,
    ServerSentEvent("job", '{"a": "\u2028\x85"}'),
    ServerSentEvent("message", "one\ntwo"),
    ServerSentEvent("job", "no blank"),
]


@pytest.fixture(autouse=True)
def _own_device_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE_LOCK_VARIABLE, str(tmp_path / "device.lock"))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_whole_however_they_arrive(size: int) -> None:
    content = STREAM.encode()
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    assert list(events_of(pieces)) == EVENTS


def test_an_event_is_told_before_the_next_arrives() -> None:
    pieces = iter([b"data: 1\n\n", b"data: 2\n\n"])
    events = events_of(pieces)
    assert next(events) == ServerSentEvent("message", "1")
    assert next(pieces) == b"data: 2\n\n"


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def http(tmp_path: Path, gate: Gate) -> Iterator[httpx.Client]:
    with live(open_agent(Settings(data_dir=tmp_path / "data"), gated_device(gate))) as http:
        AgentClient(http).put_artifact(ARTIFACT)
        yield http


def requests_of(http: httpx.Client) -> list[str]:
    """Filled with what is sent from now on."""
    sent: list[str] = []
    http.event_hooks = {"request": [lambda request: sent.append(f"{request.method} {request.url.path}")]}
    return sent


def test_waiting_takes_one_request_and_hears_of_every_change(http: httpx.Client, gate: Gate) -> None:
    client = AgentClient(http)
    job = client.submit(REQUEST)
    sent, seen = requests_of(http), list[Job]()

    def follow(job: Job) -> None:
        seen.append(job)
        if job.stage == "measuring":
            gate.open.set()

    assert client.wait(job.id, on_progress=follow).state == "succeeded"
    assert sent == [f"GET /v1/measurements/{job.id}/events"]
    assert seen[-1].result is not None
    assert "running" in [job.state for job in seen]


def test_who_wants_to_poll_polls(http: httpx.Client, gate: Gate) -> None:
    client = AgentClient(http)
    job = client.submit(REQUEST)
    gate.open.set()
    sent = requests_of(http)
    assert client.wait(job.id, poll_s=0.01).state == "succeeded"
    assert set(sent) == {f"GET /v1/measurements/{job.id}"}


def test_waiting_for_events_has_an_end(http: httpx.Client, gate: Gate) -> None:
    client = AgentClient(http)
    job = client.submit(REQUEST)
    limits: list[str] = []
    http.event_hooks = {"request": [lambda request: limits.append(request.url.params.get("max_s"))]}
    began = time.monotonic()
    with pytest.raises(AgentError, match=f"{job.id}.*has not ended after 0.3 s; found it is running"):
        client.wait(job.id, timeout_s=0.3)
    assert 0.3 <= time.monotonic() - began < 10  # and not the 15 s until the agent says it lives
    assert 0 < float(limits[0]) <= 0.3  # the agent ends the stream in time: no connection has to break
    with pytest.raises(AgentError, match="has not ended after 0 s"):
        client.wait(job.id, timeout_s=0)


def test_an_interrupted_wait_lets_the_stream_go(http: httpx.Client, gate: Gate) -> None:
    client = AgentClient(http)

    def interrupt(job: Job) -> None:
        if job.state == "running":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.measure(ARTIFACT, REQUEST, on_progress=interrupt)
    assert client.wait(client.jobs()[0].id).state == "cancelled"


def test_an_agent_that_restarts_meanwhile_is_followed_again(tmp_path: Path) -> None:
    request = REQUEST.model_copy(update={"warmup_ms": 1000.0})
    port: list[str] = []
    with contextlib.ExitStack() as agents:
        process = agents.enter_context(agent_process(tmp_path / "data"))
        port.append(process.port)
        retry = RetryPolicy(retries=300, first_delay_s=0.1, factor=1.0)
        with AgentClient.connect(process.url, retry=retry) as client:
            client.put_artifact(ARTIFACT)
            job = client.submit(request)
            restarted: list[threading.Thread] = []

            def restart() -> None:
                agents.enter_context(agent_process(tmp_path / "data", "--port", process.port))

            def kill_once(job: Job) -> None:
                if job.state == "running" and not restarted:
                    process.kill()
                    restarted.append(threading.Thread(target=restart))
                    restarted[0].start()

            assert client.wait(job.id, on_progress=kill_once).state == "succeeded"
            restarted[0].join()


def test_an_agent_lost_for_good_is_an_error_naming_the_job(tmp_path: Path) -> None:
    request = REQUEST.model_copy(update={"warmup_ms": 30_000.0})
    with (
        agent_process(tmp_path / "data") as process,
        AgentClient.connect(process.url, retry=RetryPolicy(retries=1, first_delay_s=0.05)) as client,
    ):
        client.put_artifact(ARTIFACT)
        job = client.submit(request)
        with pytest.raises(AgentUnreachableError, match=f"during measurement {job.id}"):
            client.wait(job.id, on_progress=lambda job: process.kill() if job.state == "running" else None)


JOB = Job(
    id="1",
    state="running",
    request=REQUEST,
    position=None,
    progress=0.5,
    error=None,
    result=None,
    created_at="2026-01-01",
    finished_at=None,
)
ENDED = JOB.model_copy(update={"state": "cancelled"})


def stream_of(*jobs: Job, kind: str = "text/event-stream") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
    return head.encode() + b"".join(f"event: job\ndata: {job.model_dump_json()}\n\n".encode() for job in jobs)


POLLED = json_answer("200 OK", JOB.model_dump_json())
POLLED_ENDED = json_answer("200 OK", ENDED.model_dump_json())


@pytest.mark.parametrize(
    "refusal",
    [
        json_answer("404 Not Found", '{"error": "Not Found: GET /v1/measurements/1/events"}'),
        json_answer("405 Method Not Allowed", '{"error": "Method Not Allowed"}'),
        json_answer("200 OK", "{}"),
        stream_of(JOB, kind="text/html"),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: job\ndata: {}\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: job\ndata: \xff\n\n",
    ],
    ids=["404", "405", "JSON", "HTML", "other events", "no UTF-8"],
)
def test_without_events_it_polls(refusal: bytes) -> None:
    answers = [refusal, POLLED, POLLED, POLLED_ENDED]
    with scripted_server(answers) as (url, paths), AgentClient.connect(url) as client:
        assert client.wait("1").state == "cancelled"
    assert paths == ["/v1/measurements/1/events"] + ["/v1/measurements/1"] * 3


def test_a_stream_that_breaks_off_is_opened_again() -> None:
    answers = [stream_of(JOB), POLLED, stream_of(JOB, ENDED)]
    seen: list[str] = []
    with scripted_server(answers) as (url, paths), AgentClient.connect(url) as client:
        assert client.wait("1", on_progress=lambda job: seen.append(job.state)).state == "cancelled"
    assert paths == ["/v1/measurements/1/events", "/v1/measurements/1", "/v1/measurements/1/events"]
    assert seen == ["running"] * 3 + ["cancelled"]


def test_a_silent_stream_does_not_outlast_the_deadline() -> None:
    """The network is gone, and nobody said so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        retry = RetryPolicy(retries=0)
        with AgentClient.connect(url, timeout_s=0.2, retry=retry) as client:
            began = time.monotonic()
            with pytest.raises(AgentUnreachableError, match="during measurement 1"):
                client.wait("1", timeout_s=0.1)
            assert time.monotonic() - began < 15  # 45 s is how long a silence may last without a deadline
