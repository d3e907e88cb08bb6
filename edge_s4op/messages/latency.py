"""Latency, its parts, the energy it took, and the engine it is of."""

from __future__ import annotations

from pydantic import Field

from edge_s4op.messages.base import SHA256_PATTERN, Interval, Message

__all__ = ["Energy", "EngineInfo", "LatencyStatistics", "PartStatistics", "Parts"]


class LatencyStatistics(Message):
    """Latency of one inference, ms; percentiles by trtexec's rule."""

    minimum: float
    maximum: float
    mean: float
    median: float
    p90: float
    p95: float
    p99: float
    p99_9: float | None = Field(default=None, description="None: measured by an earlier version")
    median_interval: Interval
    p95_interval: Interval


class PartStatistics(Message):
    """One part of the latency, ms; percentiles by trtexec's rule."""

    median: float
    p95: float


class Parts(Message):
    """Where the time of an inference went: copying in, computing, copying out; and launching it.

    The first three are times on the device and follow one another; `enqueue_ms` is what the host took
    to launch the computation, while the device may already work.
    """

    h2d_ms: PartStatistics
    compute_ms: PartStatistics
    d2h_ms: PartStatistics
    enqueue_ms: PartStatistics


class Energy(Message):
    """Energy of one inference, mJ: of the whole module on a Jetson, of the processor on a PC."""

    source: str = Field(description='the sensor, "ina3221:VDD_IN" or "rapl:package-0"; several joined by "+"')
    energy_mj: float = Field(description="mean, beyond what is drawn when idle; below 0 if that changed")
    interval: Interval = Field(description="of energy_mj, 95 %")
    total_mj: float = Field(description="idling included")
    idle_mw: float = Field(description="before the warm-up")
    mean_mw: float = Field(description="while inferences ran")
    samples: int = Field(description="readings while inferences ran")


class EngineInfo(Message):
    """The engine a backend built from the artifact, and how it ran."""

    engine_sha256: str = Field(pattern=SHA256_PATTERN)
    key: str = Field(description="hash of all that the engine was built from")
    plugin: str | None = Field(description="the SSMConv plugin's library; None: standard operators")
    note: str | None = Field(description="what is not as one might expect, for example no plugin")
    cuda_graph: bool = Field(description="whether inferences were replayed as a CUDA graph")
    spin_wait: bool = Field(description="whether the host waited for the device by spinning")
    size_bytes: int | None = Field(default=None, description="of the engine; None: an earlier version's")
