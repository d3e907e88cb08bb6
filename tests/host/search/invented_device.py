"""A device whose latencies are invented: how long a file takes is a function of its manifest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from device_agent.device import Measure, local_device
from edge_s4op.artifact import Manifest
from edge_s4op.messages import (
    DeviceFacts,
    Disturbance,
    Energy,
    Interval,
    MeasurementRequest,
    MeasurementResult,
)
from edge_s4op.profiler.measure import Measured, samples_sha256
from edge_s4op.profiler.statistics import summarize
from edge_s4op.runtime import Runner

__all__ = ["LOAD", "device", "facts_of"]

LOAD = Disturbance(kind="cpu-load", what="other processes took 40 % of the CPU")
Ms = Callable[[Manifest], float]


def device(
    ms: Ms,
    fingerprint: str | None = None,
    watts: float | None = None,
    disturbed: Callable[[], bool] = lambda: False,
) -> Measure:
    """Every inference takes `ms(manifest)`, within 0.5 %, on a device of this fingerprint (None: here).

    `disturbed` is asked once a measurement whether something else ran meanwhile.
    """
    fingerprint = fingerprint or local_device().facts().fingerprint

    def measure(runner: Runner, request: MeasurementRequest, *watch: Any) -> Measured:
        samples_ms = ms(runner.manifest) * np.linspace(0.995, 1.005, 101)
        result = MeasurementResult(
            request=request,
            device_fingerprint=fingerprint,
            backend_version="invented",
            warmup_iterations=1,
            iterations=len(samples_ms),
            stopped_by="precision",
            latency_ms=summarize(samples_ms, request.confidence),
            throughput_per_s=1000 / float(samples_ms.mean()),
            samples_sha256=samples_sha256(samples_ms),
            disturbed=(LOAD,) if disturbed() else (),
            energy=None if watts is None else _energy(watts, ms(runner.manifest)),
        )
        return Measured(result, samples_ms)

    return measure


def _energy(watts: float, ms: float) -> Energy:
    """What a board tells that draws `watts` beyond idling, within 1 %."""
    energy_mj = watts * ms
    return Energy(
        source="invented",
        energy_mj=energy_mj,
        interval=Interval(low=0.99 * energy_mj, high=1.01 * energy_mj),
        total_mj=2 * energy_mj,
        idle_mw=1000 * watts,
        mean_mw=2000 * watts,
        samples=10,
    )


def facts_of(board: str, fingerprint: str) -> Callable[[], DeviceFacts]:
    """This machine's facts under another name."""
    facts = local_device().facts().model_copy(update={"board": board, "fingerprint": fingerprint})
    return lambda: facts
