"""A device whose measurements take as long as the test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from device_agent.device import Device, local_device
from edge_s4op.errors import MeasurementError
from edge_s4op.messages import MeasurementRequest
from edge_s4op.profiler.measure import Measured, measure
from edge_s4op.runtime import Runner


class Gate:
    """Measurements start, then wait here until `open` is set."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.order: list[str] = []

    def measure(
        self,
        runner: Runner,
        request: MeasurementRequest,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
        baseline: Runner | None,
        resident_before_bytes: int | None,
    ) -> Measured:
        self.order.append(request.artifact_sha256)
        on_progress(0.5)
        self.entered.release()
        while not self.open.wait(0.01):
            if should_stop():
                raise MeasurementError("cancelled")
        return measure(runner, request, baseline=baseline, resident_before_bytes=resident_before_bytes)


def gated_device(gate: Gate) -> Device:
    """This machine, with measurements that wait at `gate`."""
    here = local_device()
    return Device(here.facts, here.backends, here.open_runner, gate.measure)


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
