"""The queue of measurements and the one thread that runs them, one at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from device_agent.changes import Changes
from device_agent.errors import RequestError, log_build, sentence_of
from device_agent.measuring import Measuring
from device_agent.records import JobRecords, Outcome
from device_agent.running import Running
from edge_s4op.errors import S4opError, StorageError, UsageError
from edge_s4op.messages import Certificate, Job, JobState, MeasurementRequest, Samples
from edge_s4op.profiler.certificate import make_certificate

__all__ = ["JobQueue"]

_log = logging.getLogger("device_agent.jobs")

_RETRY_S = 1.0  # pause before a full disk is tried again

T = TypeVar("T")


class JobQueue:
    """Measurements: submitted and read by requests, run by a worker thread."""

    def __init__(self, records: JobRecords, measuring: Measuring) -> None:
        self._records, self._measuring, self._stopping = records, measuring, measuring.stopping
        self.changes = Changes()
        self._lock = threading.Lock()  # between claiming a job and cancelling it
        self._wake = threading.Event()
        self._running: Running | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the worker runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        """Whether the agent is about to end."""
        return self._stopping.is_set()

    def start(self, before: Callable[[], None]) -> None:
        """Take up what an earlier run left, then work; `before` runs first, on the worker's thread."""
        again, given_up = self._records.recover()
        for job_id in again:
            _log.warning("measurement %s: the agent died while it ran; queued again", job_id)
        for job_id in given_up:
            _log.error("measurement %s: failed, since the agent died twice while it ran", job_id)
        self._thread = threading.Thread(target=self._work, args=(before,), name="measuring", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the worker, after `stopping` was set."""
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            running = self._running
            if self._thread.is_alive() and running is not None:
                _log.warning("measurement %s does not stop; the next start repeats it", running.job.id)
                self._insist(lambda: self._records.put_back(running.job.id))

    def submit(self, request: MeasurementRequest, key: str | None) -> Job:
        """Queue a measurement. Raises RequestError (404 no such artifact), UsageError (backend, threads)."""
        self._measuring.store.get(request.artifact_sha256)
        if request.baseline_sha256 is not None:
            self._measuring.store.get(request.baseline_sha256)
        accepted = self._measuring.loader.accepted(request)
        job = self._records.add(accepted, key, any_backend=request.backend is None)
        self._wake.set()
        self.changes.stored()
        _log.info("measurement %s: %s, artifact %s", job.id, job.state, request.artifact_sha256[:12])
        return self.with_progress(job)

    def get(self, job_id: str) -> Job:
        """One measurement. Raises RequestError 404."""
        return self.with_progress(self._records.get(job_id))

    def unended_of(self, artifact_sha256: str) -> list[str]:
        """Ids of the measurements that wait or run and need an artifact."""
        return self._records.unended_of(artifact_sha256)

    def counts(self) -> dict[JobState, int]:
        """How many measurements are in each state that any is in."""
        return self._records.counts()

    def latest(self, limit: int, state: JobState | None = None) -> list[Job]:
        """The newest measurements, newest first; only those in `state` if given."""
        return [self.with_progress(job) for job in self._records.latest(limit, state)]

    def samples(self, job_id: str) -> Samples:
        """Raw latencies. Raises RequestError: 404 no such measurement, 409 none yet."""
        content, baseline = self._records.samples(job_id)
        if content is None:
            state = self._records.get(job_id).state
            raise RequestError(f"measurement {job_id} has no samples: it is {state}", status_code=409)
        baseline_ms = None if baseline is None else _unpacked(baseline)
        return Samples(job_id=job_id, samples_ms=_unpacked(content), baseline_samples_ms=baseline_ms)

    def certificate(self, job_id: str) -> Certificate:
        """All that is needed to judge a measurement later. Raises RequestError: 404, 409 it has none.

        What an earlier version measured is certified only while the device is as it was then: of the device
        it kept no more than the fingerprint.
        """
        job = self._records.get(job_id)
        if job.state != "succeeded":
            what = f"measurement {job_id} has no certificate: it is {job.state}"
            raise RequestError(what, status_code=409)
        device = self._records.device_of(job_id) or self._measuring.facts()
        artifact = self._measuring.store.find(job.request.artifact_sha256)
        try:
            return make_certificate(job, device, artifact=artifact)
        except UsageError as error:
            raise RequestError(str(error), status_code=409) from error

    def cancel(self, job_id: str) -> Job:
        """Cancel at once if it waits, soon if it runs; an ended measurement stays as it is."""
        with self._lock:
            self._records.cancel_queued(job_id)
            if self._running is not None and self._running.job.id == job_id:
                self._running.cancelled.set()
        self.changes.stored()
        job = self.get(job_id)
        _log.info("measurement %s: cancelling, now %s", job_id, job.state)
        return job

    def prioritise(self, job_id: str, priority: int) -> Job:
        """Change the priority of a measurement that waits. Raises RequestError: 404, 409 it waits no more."""
        self._records.prioritise(job_id, priority)
        self.changes.stored()
        _log.info("measurement %s: priority %d", job_id, priority)
        return self.get(job_id)

    def with_progress(self, job: Job) -> Job:
        """`job` with what the worker does for it at this moment."""
        running = self._running
        if job.state != "running" or running is None or running.job.id != job.id:
            return job
        stage, progress = running.at
        return job.model_copy(update={"stage": stage, "progress": progress})

    def _work(self, before: Callable[[], None]) -> None:
        before()
        while not self._stopping.is_set():
            self._wake.clear()
            running = self._insist(self._claim)
            if running is not None:
                self._run_and_record(running)
            elif not self._stopping.is_set():
                self._wake.wait()

    def _claim(self) -> Running | None:
        with self._lock:
            job = self._records.claim()
            self._running = None if job is None else Running(job, self.changes.progressed)
        if job is not None:
            self.changes.stored()
        return self._running

    def _run_and_record(self, running: Running) -> None:
        job_id = running.job.id
        _log.info("measurement %s: running", job_id)
        outcome = self._outcome(running)
        if outcome is None:
            self._insist(lambda: self._records.put_back(job_id))
            _log.info("measurement %s: queued again, since the agent stops", job_id)
        else:
            ended = outcome
            self._insist(lambda: self._records.finish(job_id, ended))
            _log.info("measurement %s: %s %s", job_id, ended.state, ended.error or "")
        self._running = None
        self.changes.stored()

    def _outcome(self, running: Running) -> Outcome | None:
        """How it ended; None when only the stopping agent ended it."""
        try:
            return self._measuring.outcome(running)
        except Exception as error:
            if running.cancelled.is_set():
                return Outcome("cancelled")
            if self._stopping.is_set():
                return None
            if not isinstance(error, S4opError):
                _log.exception("measurement %s: unexpected failure", running.job.id)
            log_build(error)
            return Outcome("failed", error=sentence_of(error))

    def _insist(self, action: Callable[[], T]) -> T | None:
        """Do it, again and again while the disk refuses; None when the agent stops before it worked."""
        while True:
            try:
                return action()
            except StorageError as error:
                _log.error("%s; trying again in %g s", error, _RETRY_S)
                if self._stopping.wait(_RETRY_S):
                    return None


def _unpacked(content: bytes) -> tuple[float, ...]:
    return tuple(np.frombuffer(content, dtype="<f8").tolist())
