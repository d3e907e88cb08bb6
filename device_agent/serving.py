"""Models being served: loaded once, run under the device lease, remembered across restarts."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from device_agent.database import Database
from device_agent.device import Device
from device_agent.errors import RequestError, busy_error, one_line
from device_agent.lease import DeviceLease
from device_agent.store import ArtifactStore
from edge_s4op.errors import S4opError, UnknownModelError
from edge_s4op.messages import ServedModel, ServeRequest
from edge_s4op.runtime import Runner

__all__ = ["Serving"]

_log = logging.getLogger("device_agent.serving")


@dataclass
class _Slot:
    """One served name: being loaded (neither runner nor error), ready, or failed."""

    request: ServeRequest
    runner: Runner | None = None
    error: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)  # a runner runs or closes, not both

    def close(self) -> None:
        with self.lock:
            runner, self.runner = self.runner, None
        if runner is not None:
            runner.close()


class Serving:
    """The served models by name."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        device: Device,
        lease: DeviceLease,
        stopping: threading.Event,
        lease_wait_s: float,
    ) -> None:
        self._database, self._store, self._device = database, store, device
        self._lease, self._stopping, self._lease_wait_s = lease, stopping, lease_wait_s
        self._lock = threading.Lock()
        with database.transaction() as connection:
            rows = connection.execute("SELECT name, request FROM models").fetchall()
        self._slots = {row["name"]: _slot_of(row) for row in rows}

    def load_all(self) -> None:
        """Load what an earlier run served; a model that fails is listed with its error."""
        with self._lock:
            slots = list(self._slots.items())
        for name, slot in slots:
            try:
                with self._device_for(f"loading {name}", timeout_s=None):
                    runner = self._open(slot.request)
            except Exception as error:
                if self._stopping.is_set():
                    return
                _log.exception("model %s: cannot be loaded", name)
                slot.error = one_line(str(error) or type(error).__name__)
            else:
                self._install(name, slot, runner)

    def put(self, name: str, request: ServeRequest) -> ServedModel:
        """Serve an artifact under `name`. On any error what was served before stays.

        Raises RequestError (404 no such artifact, 503 busy), UnknownNameError, ArtifactError.
        """
        slot = self._slots.get(name)
        if slot is not None and slot.runner is not None and slot.request == request:
            return _served(name, slot)
        with self._device_for(f"loading {name}", self._lease_wait_s):
            slot = _Slot(request, self._open(request))
        try:
            with self._lock:  # database and slots change together, or a restart would serve another model
                self._remember(name, request)
                old, self._slots[name] = self._slots.get(name), slot
        except S4opError:
            slot.close()
            raise
        if old is not None:
            old.close()
        _log.info("model %s: serves artifact %s", name, request.artifact_sha256[:12])
        return _served(name, slot)

    def remove(self, name: str) -> None:
        """Stop serving `name`. Raises UnknownModelError."""
        with self._lock:
            slot = self._slot(name)
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM models WHERE name = ?", (name,))
            del self._slots[name]
        slot.close()
        _log.info("model %s: removed", name)

    def all(self) -> list[ServedModel]:
        """Every served model, by name."""
        with self._lock:
            slots = sorted(self._slots.items())
        return [_served(name, slot) for name, slot in slots]

    def get(self, name: str) -> ServedModel:
        """One served model. Raises UnknownModelError."""
        return _served(name, self._slot(name))

    def ready_runner(self, name: str) -> Runner:
        """The loaded model. Raises UnknownModelError, RequestError 503 when it is not ready."""
        return _ready(name, self._slot(name))

    @contextlib.contextmanager
    def borrow(self, name: str) -> Iterator[Runner]:
        """The loaded model, with the device held for it. Raises as `ready_runner` does, and 503 busy."""
        self.ready_runner(name)  # a request nobody can serve need not wait for the device
        with self._device_for(f"inference on {name}", self._lease_wait_s), self._locked(name) as slot:
            yield _ready(name, slot)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[_Slot]:
        """The present slot of `name`, which cannot be closed inside the block."""
        while True:
            slot = self._slot(name)
            with slot.lock:
                if self._slot(name) is slot:
                    yield slot
                    return

    def close(self) -> None:
        """Release every model; they stay remembered."""
        with self._lock:
            slots = list(self._slots.values())
        for slot in slots:
            slot.close()

    def _device_for(self, purpose: str, timeout_s: float | None) -> contextlib.AbstractContextManager[None]:
        return self._lease.hold(purpose, timeout_s=timeout_s, unwanted=self._stopping.is_set)

    def _open(self, request: ServeRequest) -> Runner:
        artifact = self._store.read(request.artifact_sha256)
        return self._device.open_runner(artifact, request.backend, request.threads)

    def _install(self, name: str, slot: _Slot, runner: Runner) -> None:
        with self._lock:
            if self._slots.get(name) is slot:
                slot.runner = runner
                return
        runner.close()  # replaced or removed while it was loaded

    def _remember(self, name: str, request: ServeRequest) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO models VALUES (?, ?)", (name, request.model_dump_json())
            )

    def _slot(self, name: str) -> _Slot:
        slot = self._slots.get(name)
        if slot is None:
            known = ", ".join(sorted(self._slots)) or "none"
            raise UnknownModelError(f"no model {name!r} is served here", expected=f"one of: {known}")
        return slot


def _slot_of(row: sqlite3.Row) -> _Slot:
    return _Slot(ServeRequest.model_validate_json(row["request"]))


def _ready(name: str, slot: _Slot) -> Runner:
    if slot.runner is not None:
        return slot.runner
    if slot.error is None:
        raise busy_error(f"model {name!r} is being loaded")
    raise RequestError(
        f"model {name!r} could not be loaded: {slot.error}",
        status_code=503,
        fix=f"serve it again: PUT /v1/models/{name}",
    )


def _served(name: str, slot: _Slot) -> ServedModel:
    return ServedModel(name=name, serving=slot.request, ready=slot.runner is not None, error=slot.error)
