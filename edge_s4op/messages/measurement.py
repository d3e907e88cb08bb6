"""A measurement: what is asked, what comes of it, and its place in the agent's queue."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edge_s4op.messages.base import SHA256_PATTERN, Message
from edge_s4op.messages.latency import Energy, EngineInfo, LatencyStatistics, Parts
from edge_s4op.messages.profile import (
    Comparison,
    Deadline,
    Disturbance,
    Layers,
    Memory,
    RebuildVariance,
    Stability,
    Telemetry,
)

__all__ = [
    "Job",
    "JobState",
    "MeasurementRequest",
    "MeasurementResult",
    "MeasurementSettings",
    "Samples",
]

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class MeasurementSettings(Message):
    """How a model is to be measured.

    Warm-up lasts `warmup_ms` at least, and on until latency has settled or `max_warmup_ms` are over.
    Sampling stops when the confidence interval of the median is within `precision` of it on either
    side (0.02: +-2 %), but not before `min_duration_ms`; or after `max_duration_ms`. It never stops
    before `min_iterations`.
    """

    backend: str | None = Field(default=None, description="None: the agent's default backend")
    threads: int = Field(default=1, ge=1, le=1024)
    batch: int = Field(default=1, ge=1, le=4096)
    warmup_ms: float = Field(default=200.0, ge=0, le=60_000)
    max_warmup_ms: float = Field(
        default=5000.0, ge=0, le=600_000, description="at most; no longer than warmup_ms where that is more"
    )
    max_duration_ms: float = Field(default=3000.0, gt=0, le=600_000)
    min_duration_ms: float = Field(
        default=500.0,
        ge=0,
        le=600_000,
        description="no earlier stop: neighbouring runs share the machine's mood, so that a few of them"
        " agree with each other more than with the next measurement",
    )
    min_iterations: int = Field(default=10, ge=1, le=1_000_000)
    min_repeat_ms: float = Field(
        default=0.02,
        ge=0,
        le=1000,
        description="a faster run is timed together with others, so many that a sample lasts this long;"
        " the sample is their mean",
    )
    precision: float = Field(default=0.02, gt=0, lt=1)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    cooldown_max_ms: float = Field(
        default=10_000.0,
        ge=0,
        le=600_000,
        description="wait at most so long until temperature and clocks are back where they were when idle",
    )
    transfers: bool = Field(default=True, description="whether copies to and from the device count")
    spin_wait: bool | None = Field(default=None, description="None: as the backend does when it serves")
    cuda_graph: bool | None = Field(default=None, description="None: as the backend does when it serves")


class MeasurementRequest(MeasurementSettings):
    """Measure one artifact so."""

    artifact_sha256: str = Field(pattern=SHA256_PATTERN)
    baseline_sha256: str | None = Field(
        default=None, pattern=SHA256_PATTERN, description="run in turns with this artifact and compare"
    )
    deadline_ms: float | None = Field(default=None, gt=0, le=600_000)
    layers: bool = Field(default=False, description="also where the time goes, from runs of their own")
    rebuilds: int = Field(default=1, ge=1, le=20, description="load (build the engine) so many times")
    priority: int = Field(default=0, ge=-100, le=100, description="higher runs earlier")

    @model_validator(mode="after")
    def _one_question(self) -> MeasurementRequest:
        if self.baseline_sha256 is not None and self.rebuilds > 1:
            raise ValueError("baseline_sha256 and rebuilds > 1 exclude each other: ask one after the other")
        return self


class MeasurementResult(Message):
    """One finished measurement and everything needed to compare it with another.

    What is None or empty by default may be so because an earlier version measured it.
    """

    request: MeasurementRequest
    device_fingerprint: str
    backend_version: str
    warmup_iterations: int
    iterations: int
    repeats: int = Field(default=1, description="runs a sample is the mean of")
    stopped_by: Literal["precision", "time"]
    latency_ms: LatencyStatistics
    throughput_per_s: float
    samples_sha256: str = Field(description="hash of the raw samples, little-endian float64 ms")
    cooldown_ms: float = Field(default=0.0, description="waited before the warm-up")
    stability: Stability | None = None
    disturbed: tuple[Disturbance, ...] = Field(default=(), description="empty: nothing seen")
    telemetry: Telemetry | None = Field(default=None, description="None: no sensor")
    energy: Energy | None = Field(default=None, description="None: no sensor, or too few readings of it")
    parts: Parts | None = Field(default=None, description="None: the backend cannot tell them apart")
    engine: EngineInfo | None = Field(default=None, description="None: the backend builds no engine")
    memory: Memory | None = None
    layers: Layers | None = Field(default=None, description="None: not asked for, or the backend has none")
    deadline: Deadline | None = Field(default=None, description="None: not asked for")
    comparison: Comparison | None = Field(default=None, description="None: not asked for")
    rebuilds: RebuildVariance | None = Field(default=None, description="None: not asked for")


class Job(Message):
    """A measurement in the agent's queue."""

    id: str
    state: JobState
    request: MeasurementRequest
    position: int | None = Field(description="0 runs next; None once it runs or has ended")
    stage: str | None = Field(default=None, description="what a running one does, like 'building engine'")
    progress: float | None = Field(ge=0, le=1, description="share of the stage done; None: unknown")
    error: str | None
    result: MeasurementResult | None
    created_at: str
    finished_at: str | None


class Samples(Message):
    """Raw latencies in the order they were taken, ms."""

    job_id: str
    samples_ms: tuple[float, ...]
    baseline_samples_ms: tuple[float, ...] | None = Field(default=None, description="of a comparison")
