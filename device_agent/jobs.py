"""The queue of measurements and the one thread that runs them, one at a time."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from device_agent.device import Device
from device_agent.errors import RequestError, log_build, sentence_of
from device_agent.lease import DeviceLease
from device_agent.loader import Loader
from device_agent.records import JobRecords, Outcome
from device_agent.store import ArtifactStore
from edge_s4op.errors import S4opError, StorageError
from edge_s4op.messages import Job, MeasurementRequest, Samples

__all__ = ["JobQueue"]

_log = logging.getLogger("device_agent.jobs")

_RETRY_S = 1.0  # pause before a full disk is tried again

T = TypeVar("T")


@dataclass
class _Running:
    """The measurement under way; written by the worker, read by requests."""

    job: Job
    at: tuple[str, float | None] = ("waiting for the device", 0.0)  # stage, share of it done
    cancelled: threading.Event = field(default_factory=threading.Event)

    def report(self, stage: str, share: float | None) -> None:
        """Tell requests what is being done."""
        self.at = (stage, None if share is None else min(max(share, 0.0), 1.0))


class JobQueue:
    """Measurements: submitted and read by requests, run by a worker thread."""

    def __init__(
        self,
        records: JobRecords,
        store: ArtifactStore,
        device: Device,
        loader: Loader,
        lease: DeviceLease,
        stopping: threading.Event,
    ) -> None:
        self._records, self._store, self._device = records, store, device
        self._loader, self._lease, self._stopping = loader, lease, stopping
        self._lock = threading.Lock()  # between claiming a job and cancelling it
        self._wake = threading.Event()
        self._running: _Running | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the worker runs."""
        return self._thread is not None and self._thread.is_alive()

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
        self._store.get(request.artifact_sha256)
        job = self._records.add(self._loader.accepted(request), key, any_backend=request.backend is None)
        self._wake.set()
        _log.info("measurement %s: %s, artifact %s", job.id, job.state, request.artifact_sha256[:12])
        return self._with_progress(job)

    def get(self, job_id: str) -> Job:
        """One measurement. Raises RequestError 404."""
        return self._with_progress(self._records.get(job_id))

    def unended_of(self, artifact_sha256: str) -> list[str]:
        """Ids of the measurements of an artifact that wait or run."""
        return self._records.unended_of(artifact_sha256)

    def latest(self, limit: int) -> list[Job]:
        """The newest measurements, newest first."""
        return [self._with_progress(job) for job in self._records.latest(limit)]

    def samples(self, job_id: str) -> Samples:
        """Raw latencies. Raises RequestError: 404 no such measurement, 409 none yet."""
        content = self._records.samples(job_id)
        if content is None:
            state = self._records.get(job_id).state
            raise RequestError(f"measurement {job_id} has no samples: it is {state}", status_code=409)
        samples_ms = tuple(np.frombuffer(content, dtype="<f8").tolist())
        return Samples(job_id=job_id, samples_ms=samples_ms)

    def cancel(self, job_id: str) -> Job:
        """Cancel at once if it waits, soon if it runs; an ended measurement stays as it is."""
        with self._lock:
            self._records.cancel_queued(job_id)
            if self._running is not None and self._running.job.id == job_id:
                self._running.cancelled.set()
        job = self.get(job_id)
        _log.info("measurement %s: cancelling, now %s", job_id, job.state)
        return job

    def _with_progress(self, job: Job) -> Job:
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

    def _claim(self) -> _Running | None:
        with self._lock:
            job = self._records.claim()
            self._running = None if job is None else _Running(job)
        return self._running

    def _run_and_record(self, running: _Running) -> None:
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

    def _outcome(self, running: _Running) -> Outcome | None:
        """How it ended; None when only the stopping agent ended it."""
        try:
            return self._measured(running)
        except Exception as error:
            if running.cancelled.is_set():
                return Outcome("cancelled")
            if self._stopping.is_set():
                return None
            if not isinstance(error, S4opError):
                _log.exception("measurement %s: unexpected failure", running.job.id)
            log_build(error)
            return Outcome("failed", error=sentence_of(error))

    def _measured(self, running: _Running) -> Outcome:
        request = running.job.request

        def unwanted() -> bool:
            return running.cancelled.is_set() or self._stopping.is_set()

        def on_progress(share: float) -> None:
            running.report("measuring", share)

        name = f"measurement {running.job.id}"
        with self._loader.hold(name, unwanted=unwanted):
            artifact = self._store.read(request.artifact_sha256)
            runner = self._loader.open(artifact, request, on_progress=running.report, should_stop=unwanted)
            with contextlib.closing(runner), self._lease.hold(name, unwanted=unwanted):
                on_progress(0.0)
                result, samples_ms = self._device.measure(runner, request, on_progress, unwanted)
        return Outcome("succeeded", result=result, samples=np.asarray(samples_ms, dtype="<f8").tobytes())

    def _insist(self, action: Callable[[], T]) -> T | None:
        """Do it, again and again while the disk refuses; None when the agent stops before it worked."""
        while True:
            try:
                return action()
            except StorageError as error:
                _log.error("%s; trying again in %g s", error, _RETRY_S)
                if self._stopping.wait(_RETRY_S):
                    return None
