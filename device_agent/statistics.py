"""What a served model has done: counters as the protocol's statistics has them, and recent latencies."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_s4op.profiler.statistics import percentile

__all__ = ["BatchStatistics", "Duration", "ModelStatistics", "Statistics"]

_WINDOW_S = 60.0
_MOST_LATENCIES = 4096  # 64 KiB a model, and 1 ms of sorting for whoever asks


@dataclass(frozen=True)
class Duration:
    """How often something was done, and how long that took in all."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True)
class BatchStatistics:
    """Runs of one batch size."""

    batch_size: int
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


@dataclass(frozen=True)
class Statistics:
    """All counters at one moment.

    `success`, `fail`, `queue` and `compute_*` count requests (a run that answers three counts its time
    three times); `inference_count` counts rows, `execution_count` runs; `batches` counts runs, by rows.
    `rejected` requests were never run, and are part of `fail`.
    """

    last_inference_ms: int = 0  # since 1970
    inference_count: int = 0
    execution_count: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    rejected: int = 0
    batches: tuple[BatchStatistics, ...] = ()


class ModelStatistics:
    """Counters of one served model. For several threads.

    What is counted here is counted in `whole`, too, which several models may share; `now_s` is the clock of
    the window.
    """

    def __init__(
        self, whole: ModelStatistics | None = None, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._lock, self._whole, self._now_s = threading.Lock(), whole, now_s
        self._success, self._fail, self._queue = _Sum(), _Sum(), _Sum()
        self._compute = (_Sum(), _Sum(), _Sum())  # input, infer, output
        self._batches: dict[int, tuple[_Sum, _Sum, _Sum]] = {}
        self._rejected = self._rows = self._runs = self._last_ms = 0
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_MOST_LATENCIES)  # when (s), how long (ms)

    def ran(self, rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """One run succeeded: joined in `input_ns`, computed in `infer_ns`, split in `output_ns`."""
        with self._lock:
            batch = self._batches.setdefault(rows, (_Sum(), _Sum(), _Sum()))
            for total, ns in zip(batch, (input_ns, infer_ns, output_ns), strict=True):
                total.add(ns)
            self._rows += rows
            self._runs += 1
            self._last_ms = time.time_ns() // 1_000_000
        if self._whole is not None:
            self._whole.ran(rows, input_ns, infer_ns, output_ns)

    def answered(self, total_ns: int, queue_ns: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """One request was answered, `total_ns` after it came."""
        with self._lock:
            self._success.add(total_ns)
            self._queue.add(queue_ns)
            for total, ns in zip(self._compute, (input_ns, infer_ns, output_ns), strict=True):
                total.add(ns)
            self._latencies.append((self._now_s(), total_ns * 1e-6))
        if self._whole is not None:
            self._whole.answered(total_ns, queue_ns, input_ns, infer_ns, output_ns)

    def failed(self, total_ns: int) -> None:
        """One request was run and failed."""
        with self._lock:
            self._fail.add(total_ns)
        if self._whole is not None:
            self._whole.failed(total_ns)

    def rejected(self, total_ns: int = 0) -> None:
        """One request was refused: the queue was full, it timed out in it, or the model was closed."""
        with self._lock:
            self._fail.add(total_ns)
            self._rejected += 1
        if self._whole is not None:
            self._whole.rejected(total_ns)

    def snapshot(self) -> Statistics:
        """All counters, of one moment."""
        with self._lock:
            compute = [total.frozen() for total in self._compute]
            return Statistics(
                last_inference_ms=self._last_ms,
                inference_count=self._rows,
                execution_count=self._runs,
                success=self._success.frozen(),
                fail=self._fail.frozen(),
                queue=self._queue.frozen(),
                compute_input=compute[0],
                compute_infer=compute[1],
                compute_output=compute[2],
                rejected=self._rejected,
                batches=tuple(
                    BatchStatistics(rows, *(total.frozen() for total in self._batches[rows]))
                    for rows in sorted(self._batches)
                ),
            )

    def window(self, seconds: float = _WINDOW_S) -> tuple[float | None, float | None, float]:
        """(p50 ms, p99 ms, answers per second) over the last `seconds`, or the last 4096 answers if fewer.

        The latency is from arrival to answer, waiting included; None where nothing was answered. The rate of
        a window that is not yet full is over the time since its first answer, one second at least.
        """
        now = self._now_s()
        with self._lock:
            recent = [pair for pair in self._latencies if now - pair[0] <= seconds]
        if not recent:
            return None, None, 0.0
        ordered = sorted(latency_ms for _, latency_ms in recent)
        rate_per_s = len(recent) / max(now - recent[0][0], 1.0)
        return percentile(ordered, 50), percentile(ordered, 99), rate_per_s

    def latencies_ms(self, seconds: float = _WINDOW_S, arrived_after_s: float = -math.inf) -> list[float]:
        """Those of `window`, ascending, but of requests that came after a moment of the clock only."""
        since = self._now_s() - seconds
        with self._lock:
            return sorted(
                latency_ms
                for at, latency_ms in self._latencies
                if at >= since and at - latency_ms * 1e-3 >= arrived_after_s
            )


class _Sum:
    """A duration under way: cheaper to add to than a frozen one."""

    __slots__ = ("count", "ns")

    def __init__(self) -> None:
        self.count = self.ns = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns

    def frozen(self) -> Duration:
        return Duration(self.count, self.ns)
