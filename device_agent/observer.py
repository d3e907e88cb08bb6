"""What those who look on are told, kept so that asking costs the device next to nothing.

Facts, the list of measurements and the sensors are read again only when they may have changed, and facts and
sensors not at all while latencies are taken.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from device_agent.agent import Agent
from device_agent.metrics import registry_of
from device_agent.models_now import ModelNow, models_now, streams_now
from device_agent.overview import BoardNow, JobBrief, ModelLoad, Overview, StreamsLoad, brief_of
from device_agent.readings import BoardReadings
from edge_s4op import __version__
from edge_s4op.messages import DeviceFacts, Job, ServedFamily, ServedModel
from edge_s4op.profiler.memory import resident_bytes
from edge_s4op.profiler.telemetry import Board, find_board

__all__ = ["Observer", "is_sampling", "observer_of"]

_JOBS = 50  # measurements in an overview
_FACTS_S = 30.0  # how old facts of the device may be


def is_sampling(job: Job) -> bool:
    """Whether latencies of `job` are being taken now."""
    return job.state == "running" and (job.stage or "").startswith("measuring")


class Observer:
    """One agent, looked at. For several threads."""

    def __init__(self, agent: Agent, find: Callable[[], Board] = find_board) -> None:
        self._agent = agent
        self._lock = threading.Lock()
        self._facts: tuple[float, DeviceFacts] | None = None
        self._version = -1
        self._jobs: list[tuple[Job, JobBrief]] = []
        self.readings = BoardReadings(self.is_measuring, find)
        self.registry: CollectorRegistry = registry_of(agent, self.readings)

    def is_measuring(self) -> bool:
        """Whether latencies are being taken."""
        return any(is_sampling(job) for job, _ in self._latest())

    def overview(self) -> Overview:
        """All that the page shows."""
        agent, reading = self._agent, self.readings.latest()
        streams, (artifacts, size_bytes) = streams_now(agent), agent.store.usage()
        return Overview(
            agent_version=__version__,
            device=self._device(),
            device_holder=agent.lease.holder,
            board=None if reading is None else BoardNow(**vars(reading)),
            models=tuple(_load_of(now) for now in models_now(agent)),
            streams=StreamsLoad(**vars(streams)),
            jobs=tuple(self._briefs()),
            artifacts=artifacts,
            artifacts_bytes=size_bytes,
            disk_free_bytes=shutil.disk_usage(agent.settings.data_dir).free,
            memory_bytes=resident_bytes(),
        )

    def _device(self) -> DeviceFacts:
        known = self._facts
        if known is None or (time.monotonic() - known[0] > _FACTS_S and not self.is_measuring()):
            facts = self._agent.device.facts()
            facts = facts.model_copy(update={"default_backend": self._agent.settings.backend})
            self._facts = known = (time.monotonic(), facts)
        return known[1]

    def _latest(self) -> list[tuple[Job, JobBrief]]:
        """The newest measurements with their progress; read from the database only after a change."""
        jobs = self._agent.jobs
        with self._lock:
            version = jobs.changes.version  # before reading: a change after that is seen next time
            if version != self._version:
                self._version, self._jobs = version, [(job, brief_of(job)) for job in self._read_jobs()]
            known = self._jobs
        return [(jobs.with_progress(job), brief) for job, brief in known]

    def _read_jobs(self) -> list[Job]:
        """The newest, and the one that runs: it may be older than all of these."""
        newest, running = self._agent.jobs.latest(_JOBS), self._agent.jobs.latest(1, "running")
        return [*newest, *(job for job in running if job.id not in {known.id for known in newest})]

    def _briefs(self) -> list[JobBrief]:
        return [
            brief.model_copy(update={"stage": job.stage, "progress": job.progress})
            for job, brief in self._latest()
        ]


def observer_of(app: FastAPI) -> Observer:
    """The application's observer, which looks at its agent."""
    if not hasattr(app.state, "observer"):
        app.state.observer = Observer(app.state.agent)
    observer = app.state.observer
    assert isinstance(observer, Observer)
    return observer


def _load_of(now: ModelNow) -> ModelLoad:
    durations = now.durations or {}
    return ModelLoad(
        model=now.served if isinstance(now.served, ServedModel) else None,
        family=now.served if isinstance(now.served, ServedFamily) else None,
        queue_depth=now.queue_depth,
        p50_ms=now.p50_ms,
        p99_ms=now.p99_ms,
        rate_per_s=now.rate_per_s,
        succeeded=durations["success"].count if "success" in durations else None,
        failed=durations["fail"].count if "fail" in durations else None,
    )
