"""One served model at work: requests wait in a line, worker threads run them, joined where that is wanted."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from device_agent.batching import has_batch_axis, join, kind_of, rows_of, split
from device_agent.errors import RequestError, busy_error
from device_agent.gate import Gate
from device_agent.statistics import ModelStatistics
from device_agent.waiting import LineClosed, LineFull, Waiter, WaitingLine
from edge_s4op.messages import ServeRequest
from edge_s4op.runtime import Array, Runner

__all__ = ["Answered", "ClosingError", "Scheduler", "Wanted"]


_NEW_SHARE = 0.1  # of the newest run in the mean time of service
_NEVER = float("inf")


@dataclass(frozen=True)
class Wanted:
    """One inference request.

    `priority` as Triton has it: 1 is the most urgent; 0, or a level the model lacks: the model's default.
    `timeout_s`: how long it may wait; the model's own limit holds, too.
    """

    feeds: Mapping[str, Array]
    priority: int = 0
    timeout_s: float | None = None


@dataclass(frozen=True)
class Answered:
    """The outputs of one request, which variant of a family gave them, and what it took.

    `queue_ns` from arrival to the run, `infer_ns` of the run, which had `batch` rows in all.
    """

    outputs: dict[str, Array]
    variant: str | None
    queue_ns: int
    infer_ns: int
    batch: int


class ClosingError(RequestError):
    """503: this model takes no more requests (it is replaced, unloaded, or the agent stops)."""

    def __init__(self, what: str) -> None:
        super().__init__(what, status_code=503, retry_after_s=1, fix="try again")


class Scheduler:
    """Queue and workers of one loaded model; it closes the runner once the last worker has ended.

    `policy.instances` workers share the runner, which must be safe for concurrent use if there are several.
    With `leaves_some` they join no more requests than leave some for the next run.
    """

    def __init__(
        self,
        runner: Runner,
        policy: ServeRequest,
        gate: Gate,
        statistics: ModelStatistics,
        name: str = "m",
        variant: str | None = None,
        *,
        leaves_some: bool = False,
    ) -> None:
        self._runner, self._policy, self._gate, self._statistics = runner, policy, gate, statistics
        self._name, self._variant = name, variant
        max_batch = policy.max_batch or 1
        self._joins = max_batch > 1 and has_batch_axis(runner.manifest)
        self._line: WaitingLine[Answered] = WaitingLine(
            policy.max_queue,
            max_batch,
            policy.max_delay_ms * 1e-3,
            gate.wait_s,
            # One part runs at each worker, one is being answered. Who sets a delay wants full batches.
            parts=policy.instances + 1 if leaves_some and not policy.max_delay_ms else 1,
        )
        self._service_s = 0.0  # mean time a request takes a worker
        self._lock = threading.Lock()
        self._watches = False
        self._workers, self._ended = policy.instances, threading.Event()
        for number in range(policy.instances):
            self._start(self._work, f"{name} worker {number}")

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._line)

    @property
    def service_s(self) -> float:
        """Mean time a request took a worker lately, shared with those it was joined with; 0: none yet."""
        return self._service_s

    def refuse_if_full(self) -> None:
        """Raise what `submit` would of a full queue, for who can ask before the request is read."""
        if self._line.is_full:
            self._statistics.rejected()
            raise self._full()

    def submit(self, wanted: Wanted) -> Future[Answered]:
        """Queue a request; returns at once.

        The future fails with BadInferenceInputError, InferenceError, or RequestError 503: it waited too long,
        or the device was busy too long.

        Raises RequestError 503 with Retry-After: the queue is full; ClosingError: no more requests.
        """
        waiter = self._waiter(wanted)
        try:
            self._line.put(waiter)
        except LineFull:
            self._statistics.rejected()
            raise self._full() from None
        except LineClosed:
            raise self._closing() from None
        if waiter.gives_up_at < _NEVER:
            self._watch()
        return waiter.future

    def hand_over(self, other: Scheduler) -> int:
        """Let `other`, a variant of this model, answer all that waits here; how many that are.

        They keep their place, their limits of time and their futures, and `other` takes them however full
        its queue is: they were accepted. What runs already is answered here.
        """
        waiters = self._line.clear()
        for waiter in waiters:
            other._take_over(waiter)
        return len(waiters)

    def _take_over(self, waiter: Waiter[Answered]) -> None:
        try:
            self._line.put(waiter, even_if_full=True)
        except LineClosed:
            self._refuse(waiter, self._closing())
            return
        if waiter.gives_up_at < _NEVER:
            self._watch()

    def stop_accepting(self) -> None:
        """Refuse new requests; those in the queue are still answered. Returns at once."""
        self._line.close()

    def wait(self, timeout_s: float) -> bool:
        """Whether the queue is answered and the runner closed, within `timeout_s` of no more requests."""
        return self._ended.wait(max(timeout_s, 0.0))

    def close(self, drain_s: float) -> bool:
        """Stop accepting; wait until the queue is answered and the runner closed: true if that came about.

        After `drain_s` those who wait yet are refused, and a run under way is left to itself: the runner is
        closed when it ends.
        """
        self._line.close()
        if self.wait(drain_s):
            return True
        for waiter in self._line.clear():
            self._refuse(waiter, self._closing())
        return False

    def _waiter(self, wanted: Wanted) -> Waiter[Answered]:
        policy = self._policy
        middle = (policy.priority_levels + 1) // 2
        is_level = 1 <= wanted.priority <= policy.priority_levels
        limits_s = [s for s in (wanted.timeout_s, _seconds(policy.timeout_ms)) if s is not None]
        return Waiter(
            wanted.feeds,
            rows=rows_of(wanted.feeds),
            kind=kind_of(wanted.feeds) if self._joins else None,
            level=wanted.priority if is_level else policy.default_priority or middle,
            gives_up_at=time.monotonic() + min(limits_s) if limits_s else _NEVER,
        )

    def _work(self) -> None:
        try:
            while self._line.wait():
                if not self._gate.enter(unwanted=lambda: self.depth == 0, on_wait=self._on_wait):
                    continue
                batch: Sequence[Waiter[Answered]] = ()
                try:
                    batch = self._line.take()
                    self._serve(batch)
                finally:
                    self._gate.leave()
                    self._line.answered(len(batch))
        finally:
            self._leave()

    def _serve(self, batch: Sequence[Waiter[Answered]]) -> None:
        if batch:
            with self._gate.traffic.inference(len(batch)):
                self._run(batch)

    def _run(self, batch: Sequence[Waiter[Answered]]) -> None:
        """Answer them with one run; where that fails, each with its own, so that it fails alone."""
        try:
            answers = self._answers(batch)
        except Exception as error:
            if len(batch) == 1:
                self._statistics.failed(batch[0].waited_ns)
                batch[0].future.set_exception(error)
                return
            for waiter in batch:
                self._run([waiter])
        else:
            for waiter, answer in zip(batch, answers, strict=True):
                waiter.future.set_result(answer)

    def _answers(self, batch: Sequence[Waiter[Answered]]) -> list[Answered]:
        began = time.perf_counter_ns()
        feeds = join([waiter.feeds for waiter in batch])
        joined = time.perf_counter_ns()
        outputs = self._runner.run(feeds)
        ran = time.perf_counter_ns()
        parts = split(outputs, [waiter.rows for waiter in batch])
        ended = time.perf_counter_ns()
        rows = sum(waiter.rows for waiter in batch)
        self._count(batch, rows, (began, joined, ran, ended))
        return [
            Answered(outputs, self._variant, began - waiter.arrived_ns, ran - joined, rows)
            for waiter, outputs in zip(batch, parts, strict=True)
        ]

    def _count(
        self, batch: Sequence[Waiter[Answered]], rows: int, moments: tuple[int, int, int, int]
    ) -> None:
        began, joined, ran, ended = moments
        times = (joined - began, ran - joined, ended - ran)
        self._statistics.ran(rows, *times)
        for waiter in batch:
            self._statistics.answered(ended - waiter.arrived_ns, began - waiter.arrived_ns, *times)
        service_s = (ended - began) * 1e-9 / len(batch)
        share = _NEW_SHARE if self._service_s else 1.0
        self._service_s += share * (service_s - self._service_s)

    def _on_wait(self, is_waiting: bool) -> None:
        self._line.block(is_waiting)
        if is_waiting:
            self._watch()

    def _watch(self) -> None:
        """See to it that requests which wait too long are told in time, whatever the workers do."""
        if self._watches:
            return
        with self._lock:
            if not self._watches:
                self._watches = True
                self._start(self._refuse_expired, f"{self._name} timeouts")

    def _refuse_expired(self) -> None:
        while (expired := self._line.expired()) is not None:
            now = time.monotonic()
            for waiter in expired:
                self._refuse(
                    waiter, self._gate.refusal() if waiter.gives_up_at > now else self._timed_out(waiter)
                )

    def _refuse(self, waiter: Waiter[Answered], error: RequestError) -> None:
        if waiter.future.set_running_or_notify_cancel():
            self._statistics.rejected(waiter.waited_ns)
            waiter.future.set_exception(error)

    def _leave(self) -> None:
        with self._lock:
            self._workers -= 1
            if self._workers:
                return
        with contextlib.ExitStack() as ending:
            ending.callback(self._ended.set)
            self._runner.close()

    def _start(self, work: Callable[[], None], name: str) -> None:
        threading.Thread(target=work, name=name, daemon=True).start()

    def _full(self) -> RequestError:
        depth = self.depth
        remaining_s = depth * self._service_s / self._policy.instances
        return busy_error(f"model {self._name!r}: its queue is full, {depth} requests wait", remaining_s)

    def _timed_out(self, waiter: Waiter[Answered]) -> RequestError:
        waited_ms = (time.monotonic() - waiter.arrived_at) * 1e3
        return busy_error(
            f"model {self._name!r}: the request timed out in the queue after {waited_ms:.0f} ms"
        )

    def _closing(self) -> ClosingError:
        return ClosingError(f"model {self._name!r} takes no more requests: it is being closed")


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds * 1e-3
