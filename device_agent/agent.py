"""One agent: its parts wired together over one data folder, started and stopped as a whole."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from device_agent.bodies import BodyRoom
from device_agent.database import Database
from device_agent.device import Device, local_device
from device_agent.errors import RequestError
from device_agent.families import Families
from device_agent.gate import Gate
from device_agent.jobs import JobQueue
from device_agent.lease import DeviceLease
from device_agent.loader import Loader
from device_agent.measuring import Measuring
from device_agent.opening import Opener
from device_agent.readings import BoardReadings
from device_agent.records import JobRecords
from device_agent.remembered import RememberedFamilies, RememberedModels
from device_agent.sequences import Sequences
from device_agent.serving import Serving
from device_agent.settings import Settings
from device_agent.store import ArtifactStore
from device_agent.streams import Ending, Streams
from device_agent.traffic import Traffic
from edge_s4op.errors import StorageError
from edge_s4op.profiler.device_lock import DeviceLock

__all__ = ["Agent", "open_agent"]

_log = logging.getLogger("device_agent")

_STOP_S = 2.0  # how long a running measurement may take to notice that it must end


@dataclass(frozen=True)
class Agent:
    """An open agent; `create_app` gives it HTTP. `start` it once, `close` it in the end."""

    settings: Settings
    device: Device
    database: Database
    store: ArtifactStore
    lease: DeviceLease
    jobs: JobQueue
    serving: Serving
    families: Families
    streams: Streams
    sequences: Sequences
    body_room: BodyRoom
    stopping: threading.Event
    lock_file: IO[bytes]

    @property
    def is_ready(self) -> bool:
        """Whether it can take work: files and database open, worker alive."""
        return (
            not self.stopping.is_set() and self.jobs.is_alive and self.store.is_open and self.database.is_open
        )

    def start(self) -> None:
        """Start the worker: it loads the served models, then takes up the queue."""
        self.jobs.start(before=self._load_all)

    def _load_all(self) -> None:
        self.serving.load_all()
        self.families.load_all()

    def remove_artifact(self, sha256: str) -> None:
        """Forget a model file. Raises RequestError: 404 not here, 409 in use."""
        self.store.get(sha256)
        users = [f"it is served as {name!r}" for name in self.serving.names_of(sha256)]
        users += [f"it is a variant of the family {name!r}" for name in self.families.names_of(sha256)]
        users += [f"measurement {job_id} waits or runs" for job_id in self.jobs.unended_of(sha256)]
        if users:
            what = f"artifact {sha256[:12]} is in use: {', '.join(users)}"
            raise RequestError(what, status_code=409, fix="remove those first")
        self.store.remove(sha256)

    def stop(self) -> None:
        """Tell everything that runs or waits to end; returns at once."""
        self.stopping.set()
        self.streams.end_all(Ending(1012, "the agent stops; connect again once it is back"))
        self.jobs.changes.progressed()

    def drain(self) -> None:
        """Stop, and answer the inference requests that wait, as far as `drain_s` allows.

        What is measured stops first: requests may wait for the device.
        """
        self.stop()
        self.families.stop_accepting()
        deadline = time.monotonic() + self.settings.drain_s
        parts = (self.serving, self.families)
        if not all([part.drain(max(deadline - time.monotonic(), 0.0)) for part in parts]):
            _log.warning("not every inference request was answered within %g s", self.settings.drain_s)

    def close(self) -> None:
        """Stop the worker (a running measurement goes back to the queue) and release everything.

        Who wants queued requests answered calls `drain` first.

        Closing once more does nothing.
        """
        self.stop()
        self.jobs.join(_STOP_S)
        self.serving.close()
        self.families.close()
        self.database.close()
        self.lock_file.close()


def open_agent(settings: Settings, device: Device | None = None, lease: DeviceLease | None = None) -> Agent:
    """Open (or create) the data folder and build an agent on it; `device` is this machine by default.

    Raises StorageError when the folder or the device's lock cannot be used, or another agent uses the folder,
    and UsageError when the default backend cannot run here.
    """
    device, lease, stopping = device or local_device(), lease or DeviceLease(), threading.Event()
    loader = Loader(
        device,
        default_backend=settings.backend,
        engine_dir=settings.engine_dir or settings.data_dir / "engines",
        build_memory_mb=settings.build_memory_mb,
        build_timeout_s=settings.build_timeout_s,
        device_lock=DeviceLock(settings.device_lock),
    )
    traffic = Traffic()
    with contextlib.ExitStack() as opened:  # closed again if a later step fails
        lock_file = opened.enter_context(_locked(settings.data_dir))
        database = opened.enter_context(contextlib.closing(Database(settings.data_dir / "agent.sqlite")))
        store = ArtifactStore(settings.data_dir / "artifacts", database)
        measuring = Measuring(
            store, device, loader, lease, traffic, stopping, while_measuring=settings.while_measuring
        )
        jobs = JobQueue(JobRecords(database), measuring)
        gate = Gate(lease, traffic, settings.while_measuring == "share", settings.lease_wait_s)
        opener = Opener(store, loader, stopping)
        serving = Serving(RememberedModels(database), opener, gate, stopping)
        readings = BoardReadings(lambda: lease.holder is not None)
        families = Families(RememberedFamilies(database), serving, opener, stopping, readings.hottest_c)
        streams = Streams(settings.stream_limit, settings.stream_state_bytes, settings.stream_idle_s)
        sequences = Sequences(serving, streams)
        opened.pop_all()
    return Agent(
        settings,
        device,
        database,
        store,
        lease,
        jobs,
        serving,
        families,
        streams,
        sequences,
        BodyRoom(settings.max_bodies_bytes),
        stopping,
        lock_file,
    )


def _locked(folder: Path) -> IO[bytes]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / "agent.lock", "wb")  # noqa: SIM115  # held open as long as the agent lives
    except OSError as error:
        raise StorageError(
            f"cannot use the data folder {folder}: {error.strerror}", fix="choose another --data-dir"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise StorageError(
            f"the data folder {folder} is used by another agent",
            fix="stop that agent, or choose another --data-dir",
        ) from error
    return file
