"""Models being served: loaded once, run under the device lease, remembered across restarts."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator

from device_agent.database import Database
from device_agent.errors import RequestError, busy_error, log_build, sentence_of
from device_agent.lease import DeviceLease
from device_agent.loader import Loader
from device_agent.loads import Load
from device_agent.slots import Slot, ready_runner_of, served_model
from device_agent.store import ArtifactStore
from device_agent.traffic import Traffic
from edge_s4op.errors import S4opError, UnknownModelError
from edge_s4op.messages import ServedModel, ServeRequest
from edge_s4op.runtime import Runner

__all__ = ["Serving"]

_log = logging.getLogger("device_agent.serving")

_STOP_S = 1.0  # how long loads under way may take to notice that the agent ends


class Serving:
    """The served models by name."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        loader: Loader,
        lease: DeviceLease,
        traffic: Traffic,
        stopping: threading.Event,
        lease_wait_s: float,
    ) -> None:
        self._database, self._store, self._loader = database, store, loader
        self._lease, self._traffic = lease, traffic
        self._stopping, self._lease_wait_s = stopping, lease_wait_s
        self._lock = threading.Lock()
        with database.transaction() as connection:
            rows = connection.execute("SELECT name, request FROM models").fetchall()
        self._slots = {row["name"]: Slot(ServeRequest.model_validate_json(row["request"])) for row in rows}
        self._loads: dict[str, Load] = {}  # the one that counts under each name; others are `unwanted`

    def load_all(self) -> None:
        """Load what an earlier run served; a model that fails is listed with its error."""
        with self._lock:
            slots = list(self._slots.items())
        for name, slot in slots:
            with self._lock:
                if self._slots.get(name) is not slot or slot.runner or name in self._loads:
                    continue  # a request was quicker
                load = self._loads[name] = Load(slot.request)
            self._run(name, load, timeout_s=None)
            self._forget(name, load)
            if self._stopping.is_set():
                return

    def put(self, name: str, request: ServeRequest, wait_s: float | None = None) -> ServedModel | None:
        """Serve an artifact under `name`; None when that has not come about after `wait_s`.

        On any error what was served before stays. The same request again waits for the same load; another
        one under that name takes its place.
        Raises RequestError (404 no such artifact, 409 replaced or removed meanwhile, 503 busy), UsageError,
        ArtifactError, BuildError.
        """
        request = self._loader.accepted(request)
        self._store.get(request.artifact_sha256)
        with self._lock:
            load, slot = self._loads.get(name), self._slots.get(name)
            if load is None or load.request != request or load.is_forgotten:
                self._stop_load(name)
                if slot is not None and slot.runner is not None and slot.request == request:
                    return served_model(name, slot, None)
                load = self._begin(name, request)
        try:
            return load.result(wait_s)
        except Exception:
            self._forget(name, load)  # told
            raise

    def remove(self, name: str) -> None:
        """Stop serving `name`, and loading it. Raises UnknownModelError."""
        with self._lock:
            slot = self._slots.get(name)
            if slot is None and name not in self._loads:
                raise self._unknown(name)
            if slot is not None:
                with self._database.transaction() as connection:
                    connection.execute("DELETE FROM models WHERE name = ?", (name,))
                del self._slots[name]
            self._stop_load(name)
        if slot is not None:
            slot.close()
        _log.info("model %s: removed", name)

    def names_of(self, artifact_sha256: str) -> list[str]:
        """Names under which an artifact is served or about to be."""
        with self._lock:
            requests = [(name, slot.request) for name, slot in self._slots.items()]
            requests += [(name, load.request) for name, load in self._loads.items() if not load.has_ended]
        return sorted({name for name, request in requests if request.artifact_sha256 == artifact_sha256})

    def all(self) -> list[ServedModel]:
        """Every served model and every name being loaded, by name."""
        with self._lock:
            names = sorted({*self._slots, *self._loads})
            entries = [(name, self._slots.get(name), self._loads.get(name)) for name in names]
        return [served_model(name, slot, load) for name, slot, load in entries]

    def get(self, name: str) -> ServedModel:
        """One served model. Raises UnknownModelError."""
        with self._lock:
            slot, load = self._slots.get(name), self._loads.get(name)
        if slot is None and load is None:
            raise self._unknown(name)
        return served_model(name, slot, load)

    def ready_runner(self, name: str) -> Runner:
        """The loaded model. Raises UnknownModelError, RequestError 503 when it is not ready."""
        return ready_runner_of(name, self._slot(name))

    @contextlib.contextmanager
    def borrow(self, name: str) -> Iterator[Runner]:
        """The loaded model, with the device held for it. Raises as `ready_runner` does, and 503 busy."""
        self.ready_runner(name)  # a request nobody can serve need not wait for the device
        held = self._lease.hold(
            f"inference on {name}", timeout_s=self._lease_wait_s, unwanted=self._stopping.is_set
        )
        with held, self._locked(name) as slot, self._traffic.inference():
            yield ready_runner_of(name, slot)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[Slot]:
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
            slots, loads = list(self._slots.values()), list(self._loads.values())
        deadline = time.monotonic() + _STOP_S
        for load in loads:
            load.wait(max(deadline - time.monotonic(), 0.0))
        for slot in slots:
            slot.close()

    def _begin(self, name: str, request: ServeRequest) -> Load:
        """Load it on a thread of its own: the request that asked may go away, and others may join."""
        load = self._loads[name] = Load(request)
        threading.Thread(
            target=self._run, args=(name, load, self._lease_wait_s), name=f"loading {name}", daemon=True
        ).start()
        return load

    def _stop_load(self, name: str) -> None:
        load = self._loads.pop(name, None)
        if load is not None:
            load.unwanted.set()

    def _forget(self, name: str, load: Load) -> None:
        with self._lock:
            if self._loads.get(name) is load:
                del self._loads[name]

    def _run(self, name: str, load: Load, timeout_s: float | None) -> None:
        try:
            served = self._install(name, load, self._opened(name, load, timeout_s))
        except Exception as error:
            load.end(self._failure(name, load, error))
        else:
            _log.info("model %s: serves artifact %s", name, load.request.artifact_sha256[:12])
            load.end(served)

    def _opened(self, name: str, load: Load, timeout_s: float | None) -> Runner:
        def unwanted() -> bool:
            return load.unwanted.is_set() or self._stopping.is_set()

        with self._loader.hold(f"loading {name}", timeout_s=timeout_s, unwanted=unwanted):
            artifact = self._store.read(load.request.artifact_sha256)
            return self._loader.open(artifact, load.request, on_progress=load.report, should_stop=unwanted)

    def _install(self, name: str, load: Load, runner: Runner) -> ServedModel:
        slot = Slot(load.request, runner)
        try:
            with self._lock:  # database and slots change together, or a restart would serve another model
                if load.unwanted.is_set() or self._stopping.is_set():
                    raise busy_error("nobody wants it any more")
                old = self._slots.get(name)
                if old is None or old.request != load.request:
                    self._remember(name, load.request)
                self._slots[name] = slot
                self._loads.pop(name, None)
        except Exception:
            slot.close()
            raise
        if old is not None:
            old.close()
        return served_model(name, slot, None)

    def _failure(self, name: str, load: Load, error: Exception) -> Exception:
        """What to tell those who wait; a name that has no model is listed with it."""
        if self._stopping.is_set():
            return RequestError("the agent is stopping", status_code=503)
        if load.unwanted.is_set():
            what = f"model {name!r} was removed or replaced while this artifact was loaded"
            return RequestError(what, status_code=409)
        _log.warning("model %s: cannot be loaded: %s", name, error, exc_info=not isinstance(error, S4opError))
        log_build(error)
        with self._lock:
            slot = self._slots.get(name)
            if slot is not None and slot.runner is None:
                slot.error = sentence_of(error)
        return error

    def _remember(self, name: str, request: ServeRequest) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO models VALUES (?, ?)", (name, request.model_dump_json())
            )

    def _slot(self, name: str) -> Slot:
        slot, load = self._slots.get(name), self._loads.get(name)
        if slot is not None:
            return slot
        if load is None or load.has_ended:
            raise self._unknown(name)
        raise busy_error(f"model {name!r} is being loaded")

    def _unknown(self, name: str) -> UnknownModelError:
        known = ", ".join(sorted(self._slots)) or "none"
        return UnknownModelError(f"no model {name!r} is served here", expected=f"one of: {known}")
