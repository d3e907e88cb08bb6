"""Whose turn it is: priority, position, and changing one's mind."""

from __future__ import annotations

import httpx
import pytest

from edge_s4op.client import AgentClient
from edge_s4op.errors import AgentRefusedError
from edge_s4op.messages import MeasurementRequest
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import ended, job_of, quick, submitted, upload
from tests.device_agent.fakes import Gate, gated_device


def busy_queue(start, priorities: list[int]) -> tuple[httpx.Client, Gate, list[str], list[str]]:
    """One measurement that runs, and one waiting for each priority; their ids and their artifacts."""
    gate = Gate()
    http = start(device=gated_device(gate))
    submitted(http, upload(http, scaling_artifact(100.0)))
    assert gate.entered.acquire(timeout=10)
    artifacts = [upload(http, scaling_artifact(factor + 1.0)) for factor in range(len(priorities))]
    jobs = [
        submitted(http, artifact, priority=priority)
        for artifact, priority in zip(artifacts, priorities, strict=True)
    ]
    return http, gate, jobs, [artifact.sha256 for artifact in artifacts]


def test_the_highest_priority_runs_next_and_equals_run_as_they_came(start) -> None:
    http, gate, jobs, artifacts = busy_queue(start, [0, 5, -3, 5, 0])
    assert [job_of(http, job).position for job in jobs] == [2, 0, 4, 1, 3]
    gate.open.set()
    for job in jobs:
        assert ended(http, job).state == "succeeded"
    assert gate.order[1:] == [artifacts[number] for number in (1, 3, 0, 4, 2)]


def test_the_priority_of_a_waiting_measurement_can_be_changed(start) -> None:
    http, gate, jobs, artifacts = busy_queue(start, [0, 0, 0])
    answer = http.patch(f"/v1/measurements/{jobs[2]}", json={"priority": 1})
    assert (answer.status_code, answer.json()["position"]) == (200, 0)
    assert answer.json()["request"]["priority"] == 1
    assert AgentClient(http).prioritise(jobs[0], -1).position == 2
    gate.open.set()
    for job in jobs:
        ended(http, job)
    assert gate.order[1:] == [artifacts[number] for number in (2, 1, 0)]
    assert job_of(http, jobs[2]).result.request.priority == 1


def test_a_measurement_that_runs_or_has_ended_keeps_its_priority(start) -> None:
    http, gate, jobs, _ = busy_queue(start, [0])
    client = AgentClient(http)
    (running,) = client.jobs("running")
    with pytest.raises(AgentRefusedError, match="does not wait any more: it is running") as caught:
        client.prioritise(running.id, 5)
    assert caught.value.status_code == 409
    gate.open.set()
    assert ended(http, jobs[0]).state == "succeeded"
    assert http.patch(f"/v1/measurements/{jobs[0]}", json={"priority": 5}).status_code == 409
    assert job_of(http, jobs[0]).request.priority == 0


@pytest.mark.parametrize("body", [{"priority": 101}, {"priority": "high"}, {}, {"priority": 1, "threads": 2}])
def test_a_wrong_change_is_400(start, body: dict) -> None:
    http, _, jobs, _ = busy_queue(start, [0])
    assert http.patch(f"/v1/measurements/{jobs[0]}", json=body).status_code == 400
    assert http.patch("/v1/measurements/nothing", json={"priority": 1}).status_code == 404


def test_a_repeated_submission_finds_its_measurement_whatever_its_priority_is_by_then(start) -> None:
    http, _, _, _ = busy_queue(start, [])
    artifact = upload(http, scaling_artifact())
    headers = {"Idempotency-Key": "once"}
    first = http.post("/v1/measurements", json=quick(artifact), headers=headers).json()
    http.patch(f"/v1/measurements/{first['id']}", json={"priority": 7})
    again = http.post("/v1/measurements", json=quick(artifact), headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    assert again.json()["request"]["priority"] == 7


def test_priorities_survive_a_restart(start) -> None:
    http, _, jobs, artifacts = busy_queue(start, [0, 1])
    http.patch(f"/v1/measurements/{jobs[0]}", json={"priority": 2})
    http.__exit__(None, None, None)
    gate = Gate()
    http = start(device=gated_device(gate))
    gate.open.set()
    for job in jobs:
        assert ended(http, job).state == "succeeded"
    assert gate.order[:2] == [artifacts[0], artifacts[1]]


def test_measurements_are_listed_by_state(start) -> None:
    http, gate, jobs, _ = busy_queue(start, [0, 0])
    client = AgentClient(http)
    client.cancel(jobs[0])
    assert [job.id for job in client.jobs("cancelled")] == [jobs[0]]
    assert [job.id for job in client.jobs("queued")] == [jobs[1]]
    assert len(client.jobs("running")) == 1
    assert client.jobs("failed") == []
    assert http.get("/v1/measurements", params={"state": "lost"}).status_code == 400
    gate.open.set()
    ended(http, jobs[1])
    assert len(client.jobs("succeeded")) == 2


def test_a_request_says_at_most_what_the_queue_can_order() -> None:
    with pytest.raises(ValueError, match="priority"):
        MeasurementRequest(artifact_sha256="0" * 64, priority=101)
