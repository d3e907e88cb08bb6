"""The agent's metrics, made from what it knows whenever they are asked for: seconds, bytes, ratios.

Those of inference are Triton's (docs/user_guide/metrics.md of its server) under the prefix `s4op_`, durations
in seconds.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from device_agent.agent import Agent
from device_agent.models_now import ModelNow, models_now, streams_now
from device_agent.readings import BoardReadings
from edge_s4op import __version__
from edge_s4op.messages import JobState, ServedFamily

__all__ = ["registry_of"]

_MS = 1e-3
_COUNTS = {
    "success": ("inference_request_success", "Inference requests answered."),
    "fail": ("inference_request_failure", "Inference requests that failed or were refused."),
}
_DURATIONS = {
    "success": ("inference_request_duration_seconds", "Time from a request's arrival to its answer."),
    "queue": ("inference_queue_duration_seconds", "Time of requests in the queue."),
    "compute_input": ("inference_compute_input_duration_seconds", "Time taken to gather inputs."),
    "compute_infer": ("inference_compute_infer_duration_seconds", "Time the model ran."),
    "compute_output": ("inference_compute_output_duration_seconds", "Time taken to hand out outputs."),
}
_QUANTITIES = {  # name of the metric, label, factor to its unit
    "temperature": ("s4op_temperature_celsius", "Temperature of a zone of the board.", 1.0),
    "clock": ("s4op_clock_hertz", "Clock of a part of the board.", 1e6),
    "power": ("s4op_power_watts", "Power on a rail.", 1.0),
    "load": ("s4op_load_ratio", "Share of the time a part of the board is busy.", 1e-2),
    "throttle": ("s4op_throttle", "The kernel's state or count of slowing down.", 1.0),
}


def registry_of(agent: Agent, readings: BoardReadings) -> CollectorRegistry:
    """A registry of one agent's metrics; nothing is kept outside it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_AgentCollector(agent, readings))
    ProcessCollector(namespace="s4op", registry=registry)
    return registry


class _AgentCollector(Collector):
    def __init__(self, agent: Agent, readings: BoardReadings) -> None:
        self._agent, self._readings = agent, readings

    def describe(self) -> Iterator[Metric]:
        """Nothing: reading everything to learn names would open sensors before they are wanted."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("s4op_build", "Version of the agent.", value={"version": __version__})
        yield GaugeMetricFamily("s4op_ready", "1 when the agent takes work.", value=self._agent.is_ready)
        yield from _of_models(models_now(self._agent))
        yield from _of_streams(self._agent)
        yield GaugeMetricFamily(
            "s4op_inference_body_bytes",
            "Large bodies of inference requests held now.",
            value=self._agent.body_room.taken_bytes,
        )
        yield from _of_measurements(self._agent)
        yield from _of_board(self._readings)
        yield from _of_disk(self._agent)


def _of_models(models: list[ModelNow]) -> Iterator[Metric]:
    yield _gauge("s4op_model_ready", "1 when the model answers.", models, lambda m: m.served.ready)
    yield _gauge("s4op_queue_depth", "Requests that wait.", models, lambda m: m.queue_depth)
    yield _variants(models)
    yield from _counts(models)
    yield from _durations(models)
    yield _window(models)


def _gauge(name: str, text: str, models: list[ModelNow], value: Any) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["model"])
    for model in models:
        if (number := value(model)) is not None:
            family.add_metric([model.name], number)
    return family


def _variants(models: list[ModelNow]) -> Metric:
    family = GaugeMetricFamily(
        "s4op_model_variant", "1 for the variant of a family in use.", labels=["model", "variant"]
    )
    for model in models:
        if isinstance(model.served, ServedFamily):
            for variant in model.served.variants:
                family.add_metric([model.name, variant.name], variant.name == model.served.current)
    return family


def _counts(models: list[ModelNow]) -> Iterator[Metric]:
    for key, (name, text) in _COUNTS.items():
        family = CounterMetricFamily(f"s4op_{name}", text, labels=["model"])
        for model in models:
            if key in (model.durations or {}):
                family.add_metric([model.name], (model.durations or {})[key].count)
        yield family
    inferences = CounterMetricFamily("s4op_inference_count", "Rows inferred.", labels=["model"])
    executions = CounterMetricFamily("s4op_inference_exec_count", "Runs of the model.", labels=["model"])
    for model in models:
        if model.inference_count is not None and model.execution_count is not None:
            inferences.add_metric([model.name], model.inference_count)
            executions.add_metric([model.name], model.execution_count)
    yield inferences
    yield executions


def _durations(models: list[ModelNow]) -> Iterator[Metric]:
    for key, (name, text) in _DURATIONS.items():
        family = SummaryMetricFamily(f"s4op_{name}", text, labels=["model"])
        for model in models:
            counted = (model.durations or {}).get(key)
            if counted is not None:
                family.add_metric([model.name], counted.count, counted.seconds)
        yield family


def _window(models: list[ModelNow]) -> Metric:
    text = "Latency of the last requests, by quantile."
    family = GaugeMetricFamily("s4op_inference_recent_latency_seconds", text, labels=["model", "quantile"])
    for model in models:
        for quantile, value_ms in (("0.5", model.p50_ms), ("0.99", model.p99_ms)):
            if value_ms is not None:
                family.add_metric([model.name, quantile], value_ms * _MS)
    return family


def _of_streams(agent: Agent) -> Iterator[Metric]:
    streams = streams_now(agent)
    yield GaugeMetricFamily("s4op_streams", "Open streams.", value=streams.count)
    text = "Memory of the states of open streams."
    yield GaugeMetricFamily("s4op_stream_state_bytes", text, value=streams.state_bytes)


def _of_measurements(agent: Agent) -> Iterator[Metric]:
    counts = agent.jobs.counts()
    waiting = GaugeMetricFamily("s4op_measurements", "Measurements that wait or run.", labels=["state"])
    ended = CounterMetricFamily("s4op_measurements_ended", "Measurements that ended.", labels=["state"])
    for state in get_args(JobState):
        family = waiting if state in ("queued", "running") else ended
        family.add_metric([state], counts.get(state, 0))
    yield waiting
    yield ended


def _of_board(readings: BoardReadings) -> Iterator[Metric]:
    reading = readings.latest()
    if reading is None:
        return
    for quantity, (name, text, factor) in _QUANTITIES.items():
        family = GaugeMetricFamily(name, text, labels=["sensor"])
        for sensor, value in reading.values.items():
            if sensor.startswith(f"{quantity} "):
                family.add_metric([sensor.removeprefix(f"{quantity} ")], value * factor)
        yield family
    text = "Age of the board's readings; they are not renewed while a measurement takes latencies."
    yield GaugeMetricFamily("s4op_board_reading_age_seconds", text, value=reading.age_s)


def _of_disk(agent: Agent) -> Iterator[Metric]:
    count, size_bytes = agent.store.usage()
    yield GaugeMetricFamily("s4op_artifacts", "Model files stored.", value=count)
    yield GaugeMetricFamily("s4op_artifacts_bytes", "Size of the model files stored.", value=size_bytes)
    free_bytes = shutil.disk_usage(agent.settings.data_dir).free
    yield GaugeMetricFamily("s4op_disk_free_bytes", "Free on the disk of the data folder.", value=free_bytes)
