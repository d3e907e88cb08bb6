"""A runner whose latencies are given and whose clock is its own, and measuring it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from edge_s4op.artifact import Manifest
from edge_s4op.messages import MeasurementRequest, MeasurementResult
from edge_s4op.profiler import measure
from tests.edge_s4op import tiny

MS = 1_000_000
SHA = tiny.linear_artifact().sha256


@dataclass
class Simulation:
    """A runner on NumPy and its clock: each run takes the next of `latencies_ns`, nothing else does."""

    latencies_ns: Iterator[int]
    manifest: Manifest = field(default_factory=lambda: tiny.manifest(tiny.FLOATS))
    backend: str = "onnxruntime"
    backend_version: str = "simulated"
    fails_at: int | None = None
    now: list[int] = field(default_factory=lambda: [0])  # ns; shared by those that run in turns
    seen: list[dict[str, np.ndarray]] = field(default_factory=list)
    gc_was_on: bool = False

    def clock(self) -> int:
        return self.now[0]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.gc_was_on |= gc.isenabled()
        if len(self.seen) == self.fails_at:
            raise RuntimeError("out of\nmemory")
        self.seen.append(dict(feeds))
        self.now[0] += next(self.latencies_ns)
        return {"logits": (feeds["input"] @ tiny.WEIGHT).sum(1)}

    def close(self) -> None:
        pass


def quiet(mean_ms: float = 5.0) -> Simulation:
    """Spread of 0.1 %."""
    rng = np.random.default_rng(0)
    return Simulation(int(value) for value in iter(lambda: rng.normal(mean_ms, mean_ms / 1000) * MS, None))


def noisy(sigma: float = 2.0, seed: int = 0) -> Simulation:
    """Log-normal around 5 ms."""
    rng = np.random.default_rng(seed)
    return Simulation(int(value) for value in iter(lambda: rng.lognormal(np.log(5), sigma) * MS, None))


def request(**changes: object) -> MeasurementRequest:
    """Without a wait for steadiness, unless asked for: what a test counts is then known beforehand."""
    plain = {"artifact_sha256": SHA, "min_duration_ms": 0, "max_warmup_ms": 0}
    return MeasurementRequest.model_validate(plain | changes)


def run(runner: Simulation, **changes: object) -> tuple[MeasurementResult, np.ndarray]:
    measured = measure(runner, request(**changes), clock=runner.clock, device_fingerprint="f")
    return measured.result, measured.samples_ms
