"""What can be said of each served model or family, and of streams, at this moment."""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.agent import Agent
from device_agent.statistics import Duration
from edge_s4op.errors import S4opError
from edge_s4op.messages import ServedFamily, ServedModel

__all__ = ["Counted", "ModelNow", "StreamsNow", "models_now", "streams_now"]

_DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True)
class Counted:
    """How often something happened, and how long it took in all."""

    count: int
    seconds: float


@dataclass(frozen=True)
class ModelNow:
    """A served model or family, what it has done since it was loaded, and latencies of the last minute.

    `durations` are Triton's: success, fail, queue, compute_input, compute_infer, compute_output. What is not
    ready has nothing but its description.
    """

    served: ServedModel | ServedFamily
    queue_depth: int | None = None
    durations: dict[str, Counted] | None = None
    inference_count: int | None = None
    execution_count: int | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    rate_per_s: float | None = None

    @property
    def name(self) -> str:
        return self.served.name


@dataclass(frozen=True)
class StreamsNow:
    """Open streams, and the memory their states take."""

    count: int
    state_bytes: int


def models_now(agent: Agent) -> list[ModelNow]:
    """Every served model and family, by name."""
    served: list[ServedModel | ServedFamily] = [*agent.serving.all(), *agent.families.all()]
    return [_model_now(agent, each) for each in sorted(served, key=lambda each: each.name)]


def streams_now(agent: Agent) -> StreamsNow:
    """Open streams of all models."""
    return StreamsNow(agent.streams.count, agent.streams.state_bytes)


def _model_now(agent: Agent, served: ServedModel | ServedFamily) -> ModelNow:
    try:
        model = agent.serving.model(served.name)
    except S4opError:  # not loaded: there is nothing to count
        return ModelNow(served)
    counters, (p50_ms, p99_ms, rate_per_s) = model.statistics.snapshot(), model.statistics.window()
    return ModelNow(
        served=served,
        queue_depth=model.depth,
        durations={name: _counted(getattr(counters, name)) for name in _DURATIONS},
        inference_count=counters.inference_count,
        execution_count=counters.execution_count,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        rate_per_s=rate_per_s,
    )


def _counted(duration: Duration) -> Counted:
    return Counted(duration.count, duration.ns * 1e-9)
