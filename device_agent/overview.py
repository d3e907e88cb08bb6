"""All that the page shows, in one answer: GET /v1/overview."""

from __future__ import annotations

from pydantic import Field

from edge_s4op.messages import DeviceFacts, Job, JobState, ServedFamily, ServedModel
from edge_s4op.messages.base import Message

__all__ = ["BoardNow", "JobBrief", "ModelLoad", "Overview", "StreamsLoad", "brief_of"]


class BoardNow(Message):
    """The board's sensors: {"temperature gpu": 61.5, ...}, in each one's unit."""

    values: dict[str, float]
    units: dict[str, str]
    age_s: float


class ModelLoad(Message):
    """A served model or family, and how it fares; None where that is not known, as while it is loaded.

    p50, p99 and rate are of the last minute.
    """

    model: ServedModel | None = Field(description="None: it is a family")
    family: ServedFamily | None = Field(description="None: it is a model")
    queue_depth: int | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    rate_per_s: float | None = None
    succeeded: int | None = None
    failed: int | None = None


class StreamsLoad(Message):
    """Open streams, and the memory their states take."""

    count: int
    state_bytes: int


class JobBrief(Message):
    """A measurement without its samples, layers and sensors."""

    id: str
    state: JobState
    artifact_sha256: str
    backend: str | None
    batch: int
    position: int | None
    stage: str | None
    progress: float | None
    error: str | None
    created_at: str
    finished_at: str | None
    median_ms: float | None = None
    p99_ms: float | None = None
    stationary: bool | None = None
    disturbed: tuple[str, ...] = ()
    deadline_ms: float | None = None
    misses_share: float | None = None


class Overview(Message):
    """The device, what is served, and the newest measurements."""

    agent_version: str
    device: DeviceFacts
    device_holder: str | None
    board: BoardNow | None
    models: tuple[ModelLoad, ...]
    streams: StreamsLoad
    jobs: tuple[JobBrief, ...]
    artifacts: int
    artifacts_bytes: int
    disk_free_bytes: int | None
    memory_bytes: int | None


def brief_of(job: Job) -> JobBrief:
    """What a list shows of a measurement."""
    brief = JobBrief(
        artifact_sha256=job.request.artifact_sha256,
        backend=job.request.backend,
        batch=job.request.batch,
        deadline_ms=job.request.deadline_ms,
        **job.model_dump(exclude={"request", "result"}),
    )
    result = job.result
    if result is None:
        return brief
    return brief.model_copy(
        update={
            "median_ms": result.latency_ms.median,
            "p99_ms": result.latency_ms.p99,
            "stationary": None if result.stability is None else result.stability.stationary,
            "disturbed": tuple(seen.what for seen in result.disturbed),
            "misses_share": None if result.deadline is None else result.deadline.share,
        }
    )
