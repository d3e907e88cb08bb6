"""/v1/measurements: submit, follow, cancel, fetch samples and certificate."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from device_agent.bodies import json_body
from device_agent.events import job_events
from device_agent.routes_device import TheAgent
from edge_s4op.messages import Certificate, Job, JobState, MeasurementRequest, Samples

__all__ = ["router"]

router = APIRouter(prefix="/v1/measurements")


class Change(BaseModel):
    """What can be changed about a measurement that waits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    priority: int = Field(ge=-100, le=100)


Wanted = Annotated[MeasurementRequest, Depends(json_body(MeasurementRequest))]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
Changed = Annotated[Change, Depends(json_body(Change))]


@router.post("", status_code=202)
def submit(agent: TheAgent, wanted: Wanted, response: Response, key: Key = None) -> Job:
    """Queue a measurement; the same Idempotency-Key again answers with the job it made before."""
    job = agent.jobs.submit(wanted, key)
    response.headers["Location"] = f"/v1/measurements/{job.id}"
    return job


@router.get("")
def latest(
    agent: TheAgent, limit: Annotated[int, Query(ge=1, le=1000)] = 100, state: JobState | None = None
) -> list[Job]:
    """The newest measurements, newest first; only those in `state` if given."""
    return agent.jobs.latest(limit, state)


@router.get("/{job_id}")
def job(agent: TheAgent, job_id: str) -> Job:
    """The state of one measurement, with its result once it has one."""
    return agent.jobs.get(job_id)


@router.patch("/{job_id}")
def change(agent: TheAgent, job_id: str, changed: Changed) -> Job:
    """Change the priority of a measurement that waits; 409 once it runs or has ended."""
    return agent.jobs.prioritise(job_id, changed.priority)


@router.get("/{job_id}/events")
async def events(
    agent: TheAgent, job_id: str, max_s: Annotated[float, Query(ge=0)] = float("inf")
) -> StreamingResponse:
    """Server-sent events, a Job each, until the measurement has ended or `max_s` are over."""
    await to_thread.run_sync(agent.jobs.get, job_id)  # 404 is an answer, not an event
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        job_events(agent.jobs, job_id, max_s), media_type="text/event-stream", headers=headers
    )


@router.get("/{job_id}/samples")
def samples(agent: TheAgent, job_id: str) -> Samples:
    """Raw latencies; 409 while there are none."""
    return agent.jobs.samples(job_id)


@router.get("/{job_id}/certificate")
def certificate(agent: TheAgent, job_id: str) -> Certificate:
    """Everything needed to judge the measurement later; 409 while there is no result."""
    return agent.jobs.certificate(job_id)


@router.delete("/{job_id}")
def cancel(agent: TheAgent, job_id: str) -> Job:
    """Cancel: at once if it waits, soon if it runs; an ended measurement stays as it is."""
    return agent.jobs.cancel(job_id)
