"""One measurement: its models opened, the device held, measured, and what comes of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from device_agent.device import Device
from device_agent.lease import DeviceLease
from device_agent.loader import Loader
from device_agent.records import Outcome
from device_agent.running import Running
from device_agent.store import ArtifactStore
from device_agent.traffic import Traffic
from edge_s4op.messages import (
    DeviceFacts,
    Disturbance,
    MeasurementRequest,
    MeasurementResult,
    RebuildVariance,
)
from edge_s4op.profiler.measure import Measured
from edge_s4op.profiler.memory import resident_bytes
from edge_s4op.profiler.statistics import Samples
from edge_s4op.runtime import Runner

__all__ = ["Measuring"]

_MS = 1e-3


@dataclass(frozen=True)
class Measuring:
    """What measuring needs of the agent.

    It holds the device from loading to the last sample (`loader.hold`), so that neither this agent nor
    another program on the machine loads or measures meanwhile. Inference is kept off while latencies are
    taken, or, where the agent is to share the device, counted.
    """

    store: ArtifactStore
    device: Device
    loader: Loader
    lease: DeviceLease
    traffic: Traffic
    stopping: threading.Event
    while_measuring: Literal["refuse", "share"] = "refuse"

    def facts(self) -> DeviceFacts:
        """What this device is at the moment."""
        return self.device.facts().model_copy(update={"default_backend": self.loader.default_backend})

    def outcome(self, running: Running) -> Outcome:
        """Measure; raises whatever keeps it from that, also soon after the job is cancelled."""
        request = running.job.request
        steps = [_Step(self, running, number) for number in range(request.rebuilds)]
        with self.loader.hold(steps[0].name, unwanted=steps[0].unwanted):
            facts = self.facts()
            runs = [step.measured() for step in steps]
        first = runs[0]
        baseline_ms = first.baseline_samples_ms
        return Outcome(
            "succeeded",
            result=_result(runs),
            samples=_packed(first.samples_ms),
            baseline_samples=None if baseline_ms is None else _packed(baseline_ms),
            device=facts,
        )


@dataclass(frozen=True)
class _Step:
    """The model loaded (its engine built) once and measured; number 0 is the measurement itself."""

    of: Measuring
    running: Running
    number: int

    @property
    def name(self) -> str:
        return f"measurement {self.running.job.id}"

    @property
    def request(self) -> MeasurementRequest:
        request = self.running.job.request
        return request if self.number == 0 else request.model_copy(update={"layers": False})

    def unwanted(self) -> bool:
        return self.running.cancelled.is_set() or self.of.stopping.is_set()

    def measured(self) -> Measured:
        baseline_sha256, resident_bytes_before = self.request.baseline_sha256, resident_bytes()
        with contextlib.ExitStack() as held:
            runner = held.enter_context(self._opened(self.request.artifact_sha256, ""))
            baseline = None
            if baseline_sha256 is not None:
                baseline = held.enter_context(self._opened(baseline_sha256, " (baseline)"))
                resident_bytes_before = None  # what was added is two models'
            served = held.enter_context(self._device())
            self._on_progress(0.0)
            measure = self.of.device.measure
            measured = measure(
                runner, self.request, self._on_progress, self.unwanted, baseline, resident_bytes_before
            )
            return _contended(measured, served())

    @contextlib.contextmanager
    def _opened(self, sha256: str, which: str) -> Iterator[Runner]:
        artifact = self.of.store.read(sha256)
        note = which if self.number == 0 else f", {self._of_all}"
        runner = self.of.loader.open(
            artifact,
            self.request,
            on_progress=lambda stage, share: self.running.report(stage + note, share),
            should_stop=self.unwanted,
            rebuild=self.number > 0,
        )
        with contextlib.closing(runner):
            yield runner

    @contextlib.contextmanager
    def _device(self) -> Iterator[Callable[[], int]]:
        """Inference kept off, or counted; yields how many ran meanwhile."""
        if self.of.while_measuring == "share":
            mark = self.of.traffic.mark()
            yield lambda: self.of.traffic.since(mark)
            return
        hold = self.of.lease.hold
        with hold(self.name, unwanted=self.unwanted, remaining_s=self.running.remaining_s):
            yield lambda: 0

    def _on_progress(self, share: float) -> None:
        self.running.expect((1 - share) * _longest_s(self.request))
        self.running.report("measuring", (self.number + share) / self.request.rebuilds)

    @property
    def _of_all(self) -> str:
        return f"build {self.number + 1} of {self.request.rebuilds}"


def _longest_s(request: MeasurementRequest) -> float:
    """What progress is a share of; a measurement ends sooner where the median is known sooner."""
    return (request.warmup_ms + request.max_duration_ms) * _MS


def _contended(measured: Measured, served: int) -> Measured:
    """`measured`, marked if inferences ran beside it."""
    if served == 0:
        return measured
    what = "1 inference was served meanwhile" if served == 1 else f"{served} inferences were served meanwhile"
    seen = (*measured.result.disturbed, Disturbance(kind="contended", what=what))
    result = measured.result.model_copy(update={"disturbed": seen})
    return Measured(result, measured.samples_ms, measured.baseline_samples_ms)


def _result(runs: Sequence[Measured]) -> MeasurementResult:
    """The first run's result, with what the others say beside it."""
    result = runs[0].result
    if len(runs) == 1:
        return result
    medians_ms = tuple(run.result.latency_ms.median for run in runs)
    spread = max(medians_ms) / min(medians_ms) - 1 if min(medians_ms) > 0 else 0.0
    later = (
        Disturbance(kind=seen.kind, what=f"build {number} of {len(runs)}: {seen.what}")
        for number, run in enumerate(runs[1:], 2)
        for seen in run.result.disturbed
    )
    return result.model_copy(
        update={
            "rebuilds": RebuildVariance(medians_ms=medians_ms, spread=spread),
            "disturbed": (*result.disturbed, *later),
        }
    )


def _packed(samples_ms: Samples) -> bytes:
    return np.asarray(samples_ms, dtype="<f8").tobytes()
