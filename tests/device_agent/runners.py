"""A runner whose runs last as long as the test says, and a scheduler around it."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

from device_agent.gate import Gate
from device_agent.lease import DeviceLease
from device_agent.scheduler import Scheduler, Wanted
from device_agent.statistics import ModelStatistics
from device_agent.traffic import Traffic
from edge_s4op.artifact import Artifact
from edge_s4op.errors import InferenceError
from edge_s4op.messages import ServeRequest
from edge_s4op.runtime import Array
from edge_s4op.runtime.feeds import check_feeds
from tests.device_agent.agent_helpers import scaling_artifact

POISON = 666.0  # a value on which the runs of HeldRunner fail


class HeldRunner:
    """y = 2 x, z = -y, in NumPy. A run says that it has begun, then waits until `open` is set.

    `batches` are the first columns of what was run; a run with POISON in it fails as a backend would.
    """

    backend, backend_version = "held", "1"

    def __init__(self, artifact: Artifact | None = None, *, is_open: bool = True) -> None:
        self.manifest = (artifact or scaling_artifact(2.0)).manifest
        self.open, self.begun = threading.Event(), threading.Semaphore(0)
        self.batches: list[list[float]] = []
        self.is_closed = threading.Event()
        self.complaints: list[str] = []
        self.running = self.most_running = 0
        self._lock = threading.Lock()
        if is_open:
            self.open.set()

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Array]:
        check_feeds(self.manifest, feeds)
        with self._lock:
            self.batches.append(feeds["x"][:, 0].tolist())
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            if self.is_closed.is_set():
                self.complaints.append("run once closed")
        self.begun.release()
        assert self.open.wait(30)
        with self._lock:
            self.running -= 1
        if (feeds["x"] == POISON).any():
            raise InferenceError("this run failed")
        y = 2 * feeds["x"]
        return {"y": y, "z": -y}

    def close(self) -> None:
        if self.running:
            self.complaints.append("closed while it runs")
        self.is_closed.set()

    def wait_for_runs(self, count: int) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=20), "no run began"


def scheduler_of(
    runner: HeldRunner,
    *,
    lease: DeviceLease | None = None,
    statistics: ModelStatistics | None = None,
    lease_wait_s: float = 30.0,
    shares: bool = False,
    traffic: Traffic | None = None,
    leaves_some: bool = False,
    **policy: object,
) -> Scheduler:
    request = ServeRequest(artifact_sha256="0" * 64, **policy)
    gate = Gate(lease or DeviceLease(), traffic or Traffic(), shares, lease_wait_s)
    counted = statistics or ModelStatistics()
    return Scheduler(runner, request, gate, counted, "m", leaves_some=leaves_some)


def wanted(first: float, rows: int = 1, **more: object) -> Wanted:
    """A request whose rows are [first, 0, 1], [first + 1, 0, 1] and so on."""
    x = np.zeros((rows, 3), dtype=np.float32)
    x[:, 0], x[:, 2] = first + np.arange(rows), 1
    return Wanted({"x": x}, **more)
