"""What the profiler is measured against: a plain loop, ONNX Runtime's own profile, a deliberate slowdown."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edge_s4op.artifact import Artifact

__all__ = ["ProfiledRunner", "loop_median_ms", "slowed", "timed"]

Feeds = Mapping[str, np.ndarray]
Run = Callable[[], tuple[float, int]]


def loop_median_ms(run: Callable[[], object], runs: int, warmup: int = 3) -> float:
    """As hyperfine does with commands: some runs to warm up, then a fixed number, and their median."""
    for _ in range(warmup):
        run()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1e3


class ProfiledRunner:
    """A runner whose ONNX Runtime session profiles itself into `folder`, until `profile_ms` is read."""

    backend, backend_version = "onnxruntime", ort.__version__

    def __init__(self, artifact: Artifact, folder: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        self.manifest = artifact.manifest
        self._session: Any = ort.InferenceSession(
            artifact.content, options, providers=["CPUExecutionProvider"]
        )

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        (logits,) = self._session.run(None, dict(feeds))
        return {"logits": logits}

    def close(self) -> None:
        self._session = None

    def profile_ms(self) -> list[float]:
        """What every run took by the profile, which ends here: its model_run events."""
        events = json.loads(Path(self._session.end_profiling()).read_text())
        return [event["dur"] / 1e3 for event in events if event["name"] == "model_run"]


def timed(run: Callable[[], object]) -> Run:
    """Runs and gives latency and end, ns."""

    def once() -> tuple[float, int]:
        began = time.perf_counter_ns()
        run()
        ended = time.perf_counter_ns()
        return ended - began, ended

    return once


def slowed(run: Callable[[], object], by_ms: float) -> Run:
    """As `timed`, with `by_ms` of spinning in every run."""

    def once() -> tuple[float, int]:
        began = time.perf_counter_ns()
        run()
        ends = ended = time.perf_counter_ns()
        while ended < ends + by_ms * 1e6:
            ended = time.perf_counter_ns()
        return ended - began, ended

    return once
