"""What travels between host and agent under `/v1`, as frozen pydantic models.

Times are milliseconds, sizes are bytes; the unit stands in the name.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_s4op.artifact import Manifest

__all__ = [
    "ArtifactInfo",
    "DeviceFacts",
    "Energy",
    "EngineInfo",
    "Interval",
    "Job",
    "JobState",
    "LatencyStatistics",
    "MeasurementRequest",
    "MeasurementResult",
    "MeasurementSettings",
    "PartStatistics",
    "Parts",
    "Samples",
    "ServeRequest",
    "ServedModel",
]

SHA256_PATTERN = r"^[0-9a-f]{64}$"
MODEL_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DeviceFacts(_Message):
    """What the device is and what runs on it; None where it could not be read."""

    board: str
    cpu: str
    cores: int
    governor: str | None
    huge_pages: str = Field(default="unknown", description="always, malloc, madvise, never or unknown")
    memory_bytes: int
    os: str
    gpu: str | None = None
    versions: dict[str, str]
    backends: tuple[str, ...]
    default_backend: str = Field(default="onnxruntime", description="of requests that name none")
    power_source: str | None = Field(default=None, description="of energy; None: no sensor may be read")
    fingerprint: str = Field(description="hash of everything here that latency depends on")


class ArtifactInfo(_Message):
    """A model file the agent holds."""

    sha256: str = Field(pattern=SHA256_PATTERN)
    size_bytes: int
    manifest: Manifest


class MeasurementSettings(_Message):
    """How a model is to be measured.

    Sampling stops when the confidence interval of the median is within `precision` of it on either
    side (0.02: +-2 %), but not before `min_duration_ms`; or after `max_duration_ms`. It never stops
    before `min_iterations`.
    """

    backend: str | None = Field(default=None, description="None: the agent's default backend")
    threads: int = Field(default=1, ge=1, le=1024)
    batch: int = Field(default=1, ge=1, le=4096)
    warmup_ms: float = Field(default=200.0, ge=0, le=60_000)
    max_duration_ms: float = Field(default=3000.0, gt=0, le=600_000)
    min_duration_ms: float = Field(
        default=500.0,
        ge=0,
        le=600_000,
        description="no earlier stop: neighbouring runs share the machine's mood, so that a few of them"
        " agree with each other more than with the next measurement",
    )
    min_iterations: int = Field(default=10, ge=1, le=1_000_000)
    precision: float = Field(default=0.02, gt=0, lt=1)
    confidence: float = Field(default=0.95, gt=0, lt=1)


class MeasurementRequest(MeasurementSettings):
    """Measure one artifact so."""

    artifact_sha256: str = Field(pattern=SHA256_PATTERN)


class Interval(_Message):
    """A confidence interval [low, high], in the unit of what it belongs to."""

    low: float
    high: float


class LatencyStatistics(_Message):
    """Latency of one inference, ms; percentiles by trtexec's rule."""

    minimum: float
    maximum: float
    mean: float
    median: float
    p90: float
    p95: float
    p99: float
    median_interval: Interval
    p95_interval: Interval


class PartStatistics(_Message):
    """One part of the latency, ms; percentiles by trtexec's rule."""

    median: float
    p95: float


class Parts(_Message):
    """Where the time of an inference went: copying in, computing, copying out; and launching it.

    The first three are times on the device and follow one another; `enqueue_ms` is what the host took
    to launch the computation, while the device may already work.
    """

    h2d_ms: PartStatistics
    compute_ms: PartStatistics
    d2h_ms: PartStatistics
    enqueue_ms: PartStatistics


class Energy(_Message):
    """Energy of one inference, mJ: of the whole module on a Jetson, of the processor on a PC."""

    source: str = Field(description='the sensor, "ina3221:VDD_IN" or "rapl:package-0"; several joined by "+"')
    energy_mj: float = Field(description="mean, beyond what is drawn when idle; below 0 if that changed")
    interval: Interval = Field(description="of energy_mj, 95 %")
    total_mj: float = Field(description="idling included")
    idle_mw: float = Field(description="before the warm-up")
    mean_mw: float = Field(description="while inferences ran")
    samples: int = Field(description="readings while inferences ran")


class EngineInfo(_Message):
    """The engine a backend built from the artifact, and how it ran."""

    engine_sha256: str = Field(pattern=SHA256_PATTERN)
    key: str = Field(description="hash of all that the engine was built from")
    plugin: str | None = Field(description="the SSMConv plugin's library; None: standard operators")
    note: str | None = Field(description="what is not as one might expect, for example no plugin")
    cuda_graph: bool = Field(description="whether inferences were replayed as a CUDA graph")
    spin_wait: bool = Field(description="whether the host waited for the device by spinning")


class MeasurementResult(_Message):
    """One finished measurement and everything needed to compare it with another."""

    request: MeasurementRequest
    device_fingerprint: str
    backend_version: str
    warmup_iterations: int
    iterations: int
    stopped_by: Literal["precision", "time"]
    latency_ms: LatencyStatistics
    throughput_per_s: float
    samples_sha256: str = Field(description="hash of the raw samples, little-endian float64 ms")
    energy: Energy | None = Field(default=None, description="None: no sensor, or too few readings of it")
    parts: Parts | None = Field(default=None, description="None: the backend cannot tell them apart")
    engine: EngineInfo | None = Field(default=None, description="None: the backend builds no engine")


class Job(_Message):
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


class Samples(_Message):
    """Raw latencies in the order they were taken, ms."""

    job_id: str
    samples_ms: tuple[float, ...]


class ServeRequest(_Message):
    """Which artifact to serve under a name, and how."""

    artifact_sha256: str = Field(pattern=SHA256_PATTERN)
    backend: str | None = Field(default=None, description="None: the agent's default backend")
    threads: int = Field(default=1, ge=1, le=1024)
    max_batch: int = Field(
        default=1, ge=1, le=4096, description="the largest an engine is built for; ONNX Runtime takes any"
    )


class ServedModel(_Message):
    """A model being served.

    `stage` and `progress` (share of it done, None where unknown) are set while a file is loaded under this
    name; meanwhile `ready` and `serving` are those of the model that was there before, if there was one.
    """

    name: str = Field(pattern=MODEL_NAME_PATTERN)
    serving: ServeRequest
    ready: bool
    error: str | None = None
    stage: str | None = None
    progress: float | None = Field(default=None, ge=0, le=1)
