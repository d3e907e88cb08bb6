"""A measurement as a stream of server-sent events.

    event: job
    id: 3
    data: {"id": "...", "state": "running", "stage": "measuring", "progress": 0.4, ...}

One whenever something in the Job changed, at most ten a second, the first at once; a comment where nothing
happened for 15 s. The database is read when a state changed, not for progress.
WHATWG HTML standard, section 9.2.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import anyio
from anyio import to_thread

from device_agent.jobs import JobQueue
from edge_s4op.errors import S4opError
from edge_s4op.messages import Job

__all__ = ["job_events"]

_log = logging.getLogger("device_agent.events")

HEARTBEAT_S = 15.0  # proxies give up on a connection that is silent for 30 to 60 s
_APART_S = 0.1
_HEARTBEAT = b": nothing new\n\n"


async def job_events(jobs: JobQueue, job_id: str, max_s: float = float("inf")) -> AsyncIterator[bytes]:
    """Events of one measurement until it has ended, `max_s` are over or the agent stops."""
    ends = anyio.current_time() + max_s
    number = 0
    try:
        async for job in _states(jobs, job_id, ends):
            number += job is not None
            yield _HEARTBEAT if job is None else _event(number, job)
    except S4opError as error:  # too late for a status
        _log.error("events of measurement %s end: %s", job_id, error)


async def _states(jobs: JobQueue, job_id: str, ends: float) -> AsyncIterator[Job | None]:
    """Each state that differs from the one before; None where nothing changed for long."""
    job = shown = None
    known = -1
    with jobs.changes.follow() as follower:
        while True:
            version = jobs.changes.version  # before the job is read: a change after that is seen next time
            if job is None or version != known:
                job, known = await to_thread.run_sync(jobs.get, job_id), version
            else:
                job = jobs.with_progress(job)
            if job != shown:
                yield job
                shown = job
            may_speak = anyio.current_time() + _APART_S
            left_s = ends - anyio.current_time()
            if job.finished_at is not None or jobs.is_stopping or left_s <= 0:
                return
            if not await follower.wait(min(HEARTBEAT_S, left_s)):
                yield None
            await anyio.sleep_until(may_speak)


def _event(number: int, job: Job) -> bytes:
    return f"event: job\nid: {number}\ndata: {job.model_dump_json()}\n\n".encode()
