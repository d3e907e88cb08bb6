"""What a measurement says beside the latency: how steady it was, what the board did, where time went."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_s4op.messages.base import SHA256_PATTERN, Interval, Message
from edge_s4op.messages.latency import LatencyStatistics

__all__ = [
    "Comparison",
    "Deadline",
    "Disturbance",
    "DisturbanceKind",
    "Drift",
    "LayerTime",
    "Layers",
    "Memory",
    "Mode",
    "NotableSample",
    "Outliers",
    "RebuildVariance",
    "SensorSummary",
    "Stability",
    "Telemetry",
    "Verdict",
]

Verdict = Literal["faster", "slower", "not resolved"]
DisturbanceKind = Literal["throttling", "clocks", "cpu-steal", "cpu-load", "gpu-load", "contended"]


class NotableSample(Message):
    """One latency worth a look: which, when, and what the board did then."""

    index: int = Field(description="in the order taken, from 0")
    at_ms: float = Field(description="when it ended, since sampling began")
    latency_ms: float
    board: str | None = Field(description="what telemetry shows around then; None: no telemetry")


class Outliers(Message):
    """Latencies far above the rest. They stay in the samples and in every statistic."""

    above_ms: float = Field(description="the fence: what lies above is an outlier")
    count: int
    share: float
    worst: tuple[NotableSample, ...] = Field(description="the slowest, at most ten, slowest first")


class Mode(Message):
    """One of the levels that latencies cluster around."""

    median_ms: float
    share: float = Field(description="of the samples")


class Drift(Message):
    """Latency that rose or fell while it was sampled."""

    change: float = Field(description="of the level, first to last, over the median: 0.05 is slower by 5 %")
    interval: Interval = Field(description="of change, 99 %")


class Stability(Message):
    """Whether the samples are of one steady state."""

    stationary: bool = Field(description="whether warm-up ended because latency had settled")
    warmup_ms: float
    drift: Drift | None = Field(description="None: none found")
    modes: tuple[Mode, ...] = Field(description="one, or two where latencies are bimodal; fastest first")
    outliers: Outliers


class Disturbance(Message):
    """Something beside the model that changed the latencies."""

    kind: DisturbanceKind
    what: str = Field(description="a sentence with the figures")


class SensorSummary(Message):
    """One sensor while latencies were sampled."""

    name: str = Field(description='"temperature gpu", "clock cpu", "power VDD_IN"')
    unit: str
    minimum: float
    mean: float
    maximum: float
    readings: int


class Telemetry(Message):
    """What the board's sensors showed while latencies were sampled."""

    period_ms: float = Field(description="mean time between readings")
    readings: int
    sensors: tuple[SensorSummary, ...]


class LayerTime(Message):
    """One layer of ours: its nodes' times added up."""

    name: str = Field(description='"block0/ssm", "head"; "(other)" for what belongs to none')
    median_ms: float
    share: float = Field(description="of the sum over layers")
    operators: dict[str, float] = Field(description="median ms by the backend's operator, largest first")


class Layers(Message):
    """Where the time goes, from runs of their own under the backend's profiler, slower than others."""

    source: str = Field(description='"onnxruntime profile", "TensorRT IProfiler"')
    runs: int
    total_ms: float = Field(description="sum over layers; profiling keeps it from being the latency")
    layers: tuple[LayerTime, ...] = Field(description="in the order of the model")


class Memory(Message):
    """Memory of the process that measured, bytes; None where it cannot be read."""

    peak_bytes: int | None = Field(
        description="most resident memory while sampling; where the kernel's record of it may not be started"
        " anew, what was resident before or after, whichever is more"
    )
    model_bytes: int | None = Field(description="resident memory that loading and running the model added")


class Deadline(Message):
    """How latencies keep a deadline."""

    deadline_ms: float
    misses: int
    share: float
    share_interval: Interval = Field(description="of the share missed, by Clopper and Pearson")
    longest_run: int = Field(description="misses in a row, at most")
    clustered: bool = Field(description="whether misses follow one another more often than by chance (1 %)")
    p99_9_ms: float
    worst: NotableSample


class Comparison(Message):
    """This model against a baseline, both run in turns.

    `ratio` is this model's median latency over the baseline's: 0.8 takes four fifths of the time. The verdict
    is "faster" or "slower" where the whole interval lies on one side of 1.
    """

    baseline_sha256: str = Field(pattern=SHA256_PATTERN)
    verdict: Verdict
    ratio: float
    interval: Interval = Field(description="of the ratio, at the request's confidence")
    rounds: int = Field(description="turns of each of the two")
    round_sizes: tuple[tuple[int, int], ...] = Field(
        default=(), description="runs of this model and of the baseline in each round, in order"
    )
    baseline_latency_ms: LatencyStatistics
    baseline_samples_sha256: str


class RebuildVariance(Message):
    """The model loaded (its engine built) anew several times, measured each time."""

    medians_ms: tuple[float, ...] = Field(description="in order; the first is the measurement itself")
    spread: float = Field(description="largest median over smallest, less 1")
