"""A device whose latencies are invented: how long a file takes is a function of its manifest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from device_agent.device import Measure, local_device
from edge_s4op.artifact import Manifest
from edge_s4op.messages import DeviceFacts, MeasurementRequest, MeasurementResult
from edge_s4op.profiler.measure import samples_sha256
from edge_s4op.profiler.statistics import summarize
from edge_s4op.runtime import Runner

__all__ = ["device", "facts_of"]

Ms = Callable[[Manifest], float]


def device(ms: Ms, fingerprint: str | None = None) -> Measure:
    """Every inference takes `ms(manifest)`, within 0.5 %, on a device of this fingerprint (None: here)."""
    fingerprint = fingerprint or local_device().facts().fingerprint

    def measure(
        runner: Runner, request: MeasurementRequest, *watch: Any
    ) -> tuple[MeasurementResult, np.ndarray]:
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
        )
        return result, samples_ms

    return measure


def facts_of(board: str, fingerprint: str) -> Callable[[], DeviceFacts]:
    """This machine's facts under another name."""
    facts = local_device().facts().model_copy(update={"board": board, "fingerprint": fingerprint})
    return lambda: facts
