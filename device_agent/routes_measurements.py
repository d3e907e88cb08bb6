"""/v1/measurements: submit, follow, cancel, fetch samples."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response

from device_agent.bodies import json_body
from device_agent.routes_device import TheAgent
from edge_s4op.messages import Job, MeasurementRequest, Samples

__all__ = ["router"]

router = APIRouter(prefix="/v1/measurements")

Wanted = Annotated[MeasurementRequest, Depends(json_body(MeasurementRequest))]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]


@router.post("", status_code=202)
def submit(agent: TheAgent, wanted: Wanted, response: Response, key: Key = None) -> Job:
    """Queue a measurement; the same Idempotency-Key again answers with the job it made before."""
    job = agent.jobs.submit(wanted, key)
    response.headers["Location"] = f"/v1/measurements/{job.id}"
    return job


@router.get("")
def latest(agent: TheAgent, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[Job]:
    """The newest measurements, newest first."""
    return agent.jobs.latest(limit)


@router.get("/{job_id}")
def job(agent: TheAgent, job_id: str) -> Job:
    """The state of one measurement, with its result once it has one."""
    return agent.jobs.get(job_id)


@router.get("/{job_id}/samples")
def samples(agent: TheAgent, job_id: str) -> Samples:
    """Raw latencies; 409 while there are none."""
    return agent.jobs.samples(job_id)


@router.delete("/{job_id}")
def cancel(agent: TheAgent, job_id: str) -> Job:
    """Cancel: at once if it waits, soon if it runs; an ended measurement stays as it is."""
    return agent.jobs.cancel(job_id)
