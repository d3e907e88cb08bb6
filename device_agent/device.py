"""What the agent needs from the machine it runs on, as one value that tests can replace."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from edge_s4op.artifact import Artifact
from edge_s4op.messages import DeviceFacts, MeasurementRequest
from edge_s4op.profiler.device import device_facts
from edge_s4op.profiler.measure import Measured, measure
from edge_s4op.profiler.telemetry import TelemetryRecorder
from edge_s4op.profiler.telemetry.board import find_board
from edge_s4op.runtime import Runner, RunnerOptions, available_backends, open_runner

__all__ = ["Device", "Measure", "local_device"]


class Measure(Protocol):
    """Measure a loaded model, in turns with a loaded baseline if there is one. Raises MeasurementError.

    `resident_before_bytes` is this process's memory before the model was loaded; None: it tells nothing.
    """

    def __call__(
        self,
        runner: Runner,
        request: MeasurementRequest,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
        baseline: Runner | None,
        resident_before_bytes: int | None,
        /,
    ) -> Measured: ...


@dataclass(frozen=True)
class Device:
    """Facts, backends (name -> version), how to load an artifact, how to measure a loaded one."""

    facts: Callable[[], DeviceFacts]
    backends: Callable[[], Mapping[str, str]]
    open_runner: Callable[[Artifact, str, RunnerOptions], Runner]
    measure: Measure


def local_device() -> Device:
    """This machine."""
    return Device(_facts, available_backends, _open_runner, _local_measure())


def _facts() -> DeviceFacts:
    return device_facts(available_backends())


def _open_runner(artifact: Artifact, backend: str, options: RunnerOptions) -> Runner:
    return open_runner(artifact, backend, options=options)


def _local_measure() -> Measure:
    """Measuring with the board watched by one recorder, which learns how cool the board can be."""

    @functools.cache  # at the first measurement: looking for sensors takes a while
    def recorder() -> TelemetryRecorder:
        return TelemetryRecorder(find_board())

    def measure_here(
        runner: Runner,
        request: MeasurementRequest,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
        baseline: Runner | None,
        resident_before_bytes: int | None,
    ) -> Measured:
        return measure(
            runner,
            request,
            baseline=baseline,
            recorder=recorder(),
            on_progress=on_progress,
            should_stop=should_stop,
            resident_before_bytes=resident_before_bytes,
        )

    return measure_here
