"""Server-sent events of a measurement: every change, once, at most ten a second, until it has ended."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from device_agent import events
from device_agent.agent import Agent, open_agent
from device_agent.changes import Changes
from device_agent.device import Device, local_device
from device_agent.settings import Settings
from edge_s4op.client import AgentClient
from edge_s4op.events import events_of
from edge_s4op.messages import Job
from edge_s4op.profiler.measure import Measured
from tests.device_agent.agent_helpers import agent_process, scaling_artifact
from tests.device_agent.agent_requests import ended, job_of, submitted, upload
from tests.device_agent.fakes import Gate, gated_device, wait_until
from tests.device_agent.live import live
from tests.device_agent.test_agent_process import long_request


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def agent(tmp_path: Path, gate: Gate) -> Agent:
    return open_agent(Settings(data_dir=tmp_path / "data"), gated_device(gate))


@pytest.fixture
def http(agent: Agent) -> Iterator[httpx.Client]:
    with live(agent) as client:
        yield client


def path_of(job_id: str) -> str:
    return f"/v1/measurements/{job_id}/events"


def jobs_in(response: httpx.Response) -> Iterator[Job]:
    for event in events_of(response.iter_bytes()):
        if event is not None:
            assert event.kind == "job"
            yield Job.model_validate_json(event.data)


def test_a_measurement_is_followed_from_the_queue_to_its_result(http: httpx.Client, gate: Gate) -> None:
    artifact = upload(http, scaling_artifact())
    first, second = (submitted(http, artifact) for _ in range(2))
    assert gate.entered.acquire(timeout=10)
    seen: list[Job] = []
    with http.stream("GET", path_of(second)) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        for job in jobs_in(response):
            seen.append(job)
            gate.open.set()  # once the first event is here
    assert (seen[0].state, seen[0].position) == ("queued", 0)
    assert seen[-1] == job_of(http, second)
    assert seen[-1].state == "succeeded"
    assert all(one != other for one, other in itertools.pairwise(seen))
    assert job_of(http, first).state == "succeeded"


def test_events_are_numbered(http: httpx.Client, gate: Gate) -> None:
    gate.open.set()
    job_id = submitted(http, upload(http, scaling_artifact()))
    ended(http, job_id)
    text = http.get(path_of(job_id)).text
    assert text.startswith("event: job\nid: 1\ndata: {")
    assert text.endswith("}\n\n")


def test_position_and_priority_of_a_waiting_measurement_are_told(http: httpx.Client, gate: Gate) -> None:
    artifact = upload(http, scaling_artifact())
    _, ahead, waiting = (submitted(http, artifact) for _ in range(3))
    positions = []
    with http.stream("GET", path_of(waiting)) as response:
        for job in jobs_in(response):
            positions.append((job.position, job.request.priority))
            if len(positions) == 1:
                http.delete(f"/v1/measurements/{ahead}")
            elif len(positions) == 2:
                http.patch(f"/v1/measurements/{waiting}", json={"priority": 3})
            else:
                break
    assert positions == [(1, 0), (0, 0), (0, 3)]


def test_a_cancelled_measurement_ends_its_events(http: httpx.Client, gate: Gate) -> None:
    job_id = submitted(http, upload(http, scaling_artifact()))
    assert gate.entered.acquire(timeout=10)
    with http.stream("GET", path_of(job_id)) as response:
        states = []
        for job in jobs_in(response):
            states.append(job.state)
            http.delete(f"/v1/measurements/{job_id}")
    assert (states[0], states[-1]) == ("running", "cancelled")


def test_an_unknown_measurement_is_404(http: httpx.Client) -> None:
    answer = http.get(path_of("nothing"))
    assert (answer.status_code, "nothing" in answer.json()["error"]) == (404, True)
    assert http.get(path_of("nothing"), params={"max_s": -1}).status_code == 400


def test_events_end_when_asked_to(http: httpx.Client, gate: Gate) -> None:
    job_id = submitted(http, upload(http, scaling_artifact()))
    assert gate.entered.acquire(timeout=10)
    with http.stream("GET", path_of(job_id), params={"max_s": 0.2}) as response:
        assert [job.state for job in jobs_in(response)] == ["running"]


def test_silence_is_filled_with_comments(
    http: httpx.Client, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    job_id = submitted(http, upload(http, scaling_artifact()))
    assert gate.entered.acquire(timeout=10)
    comments = 0
    with http.stream("GET", path_of(job_id)) as response:
        for event in events_of(response.iter_bytes()):
            comments += event is None
            if comments == 3:
                gate.open.set()
            elif comments > 20:
                break
    assert 3 <= comments <= 20
    assert ended(http, job_id).state == "succeeded"


def test_who_goes_away_is_forgotten(agent: Agent, http: httpx.Client, gate: Gate) -> None:
    job_id = submitted(http, upload(http, scaling_artifact()))
    assert gate.entered.acquire(timeout=10)
    for _ in range(3):
        with http.stream("GET", path_of(job_id)) as response:
            followed = jobs_in(response)  # who drops it closes the response
            assert next(followed).state == "running"
            assert agent.jobs.changes.followers == 1
        wait_until(lambda: agent.jobs.changes.followers == 0)


def test_many_reports_are_few_events_and_no_reading_of_the_database(tmp_path: Path) -> None:
    here, statements, go = local_device(), [], threading.Event()
    queries: list[int] = []

    def chatty(runner, request, on_progress, *more: object) -> Measured:
        assert go.wait(10)
        time.sleep(0.3)
        queries.append(len(statements))
        for number in range(300):
            on_progress(number / 300)
            time.sleep(0.002)
        time.sleep(0.3)
        queries.append(len(statements))
        return here.measure(runner, request, lambda share: None, *more)

    device = Device(here.facts, here.backends, here.open_runner, chatty)
    agent = open_agent(Settings(data_dir=tmp_path / "data"), device)
    with live(agent) as http:
        with agent.database.transaction() as connection:
            connection.set_trace_callback(statements.append)
        job_id = submitted(http, upload(http, scaling_artifact()))
        began = time.monotonic()
        seen = []
        with http.stream("GET", path_of(job_id)) as response:
            for job in jobs_in(response):
                seen.append(job)
                if job.state == "running":
                    go.set()
        took_s = time.monotonic() - began
    assert seen[-1].state == "succeeded"
    assert len(seen) <= took_s / 0.1 + 3
    shares = [job.progress for job in seen if job.stage == "measuring"]
    assert len(shares) >= 3
    assert shares == sorted(shares)
    assert queries[0] == queries[1]


def test_a_follower_that_never_looks_costs_the_worker_nothing() -> None:
    """However many changes there are meanwhile, it is woken once, and noting one never waits."""

    async def follow() -> tuple[int, int]:
        changes, woken = Changes(), 0
        with changes.follow() as follower:
            noting = threading.Thread(target=lambda: [changes.stored() for _ in range(1000)])
            noting.start()
            noting.join(20)  # the loop, and with it the follower, stands still meanwhile
            assert not noting.is_alive()
            while await follower.wait(0.05):
                woken += 1
        return woken, changes.followers

    assert asyncio.run(follow()) == (1, 0)


def test_the_streams_end_even_if_a_run_does_not(tmp_path: Path) -> None:
    here, entered, release = local_device(), threading.Event(), threading.Event()

    def deaf(*arguments: object) -> Measured:
        entered.set()
        release.wait(20)
        return here.measure(*arguments)

    device = Device(here.facts, here.backends, here.open_runner, deaf)
    agent = open_agent(Settings(data_dir=tmp_path / "data"), device)
    with live(agent) as http:
        job_id = submitted(http, upload(http, scaling_artifact()))
        assert entered.wait(10)
        with http.stream("GET", path_of(job_id)) as response:
            followed = events_of(response.iter_bytes())
            next(followed)
            time.sleep(0.3)  # it waits for a change by now
            agent.stop()
            assert list(followed) == []  # at once: it is not told first that nothing is new
        assert not release.is_set()
        release.set()


def test_a_stopping_agent_ends_the_streams(tmp_path: Path) -> None:
    artifact = scaling_artifact()
    with agent_process(tmp_path / "data") as process, AgentClient.connect(process.url) as client:
        client.put_artifact(artifact)
        job = client.submit(long_request(artifact.sha256))
        wait_until(lambda: client.job(job.id).state == "running")
        with (
            httpx.Client(base_url=process.url, timeout=20, trust_env=False) as http,
            http.stream("GET", path_of(job.id)) as response,
        ):
            followed = jobs_in(response)
            assert next(followed).state == "running"
            process.process.send_signal(signal.SIGTERM)
            rest = list(followed)  # until the agent ends the stream: an end, not a broken connection
        assert process.process.wait(10) == 0
        log = process.log
    assert all(job.state in ("running", "queued") for job in rest)
    assert "Traceback" not in log
    assert "queued again, since the agent stops" in log
