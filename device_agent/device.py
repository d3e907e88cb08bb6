"""What the agent needs from the machine it runs on, as one value that tests can replace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_s4op.artifact import Artifact
from edge_s4op.messages import DeviceFacts, MeasurementRequest, MeasurementResult
from edge_s4op.profiler.device import device_facts
from edge_s4op.profiler.measure import measure
from edge_s4op.profiler.power import find_power_sensor
from edge_s4op.runtime import Array, Runner, RunnerOptions, available_backends, open_runner

__all__ = ["Device", "Measure", "local_device"]

Measure = Callable[
    [Runner, MeasurementRequest, Callable[[float], None], Callable[[], bool]],
    tuple[MeasurementResult, Array],
]


@dataclass(frozen=True)
class Device:
    """Facts, backends (name -> version), how to load an artifact, how to measure a loaded one."""

    facts: Callable[[], DeviceFacts]
    backends: Callable[[], Mapping[str, str]]
    open_runner: Callable[[Artifact, str, RunnerOptions], Runner]
    measure: Measure


def local_device() -> Device:
    """This machine."""
    return Device(_facts, available_backends, _open_runner, _measure)


def _facts() -> DeviceFacts:
    return device_facts(available_backends())


def _open_runner(artifact: Artifact, backend: str, options: RunnerOptions) -> Runner:
    return open_runner(artifact, backend, options=options)


def _measure(
    runner: Runner,
    request: MeasurementRequest,
    on_progress: Callable[[float], None],
    should_stop: Callable[[], bool],
) -> tuple[MeasurementResult, Array]:
    power = find_power_sensor()
    return measure(runner, request, on_progress=on_progress, should_stop=should_stop, power=power)
