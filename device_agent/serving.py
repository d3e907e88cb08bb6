"""Models being served: loaded once, run by their workers, remembered across restarts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from device_agent.errors import RequestError, busy_error, log_build, sentence_of
from device_agent.gate import Gate
from device_agent.loads import Load, Loads
from device_agent.opening import Opened, Opener
from device_agent.remembered import RememberedModels
from device_agent.retiring import Retired, release
from device_agent.scheduler import Answered, ClosingError, Scheduler, Wanted
from device_agent.served import Served
from device_agent.slots import (
    Slot,
    Working,
    attached_entry,
    ready_model_of,
    repository_entry,
    scheduler_of,
    served_model,
)
from device_agent.statistics import ModelStatistics
from edge_s4op.errors import S4opError, UnknownModelError
from edge_s4op.messages import RepositoryEntry, ServedModel, ServeRequest

__all__ = ["Serving"]

_log = logging.getLogger("device_agent.serving")

_STOP_S = 1.0  # how long loads under way may take to notice that the agent ends


class Serving:
    """The served models by name."""

    def __init__(
        self,
        remembered: RememberedModels,
        opener: Opener,
        gate: Gate,
        stopping: threading.Event,
    ) -> None:
        self._remembered, self._opener, self.gate, self._stopping = remembered, opener, gate, stopping
        self._lock = threading.Lock()
        self._slots = {
            name: Slot(request, unloaded=not loaded) for name, (request, loaded) in remembered.all().items()
        }
        self._loads: Loads[Load] = Loads()
        self._attached: dict[str, Callable[[], Served]] = {}
        self._retired: Retired[Scheduler] = Retired()

    def load_all(self) -> None:
        """Load what an earlier run served; a model that fails is listed with its error."""
        with self._lock:
            slots = [(name, slot) for name, slot in self._slots.items() if not slot.unloaded]
        for name, slot in slots:
            with self._lock:
                if self._slots.get(name) is not slot or slot.working or name in self._loads:
                    continue  # a request was quicker
                load = self._loads[name] = Load(slot.request)
            self._run(name, load, timeout_s=None)
            with self._lock:
                self._loads.forget(name, load)
            if self._stopping.is_set():
                return

    def put(self, name: str, request: ServeRequest, wait_s: float | None = None) -> ServedModel | None:
        """Serve an artifact under `name`; None when that has not come about after `wait_s`.

        On any error what was served before stays; requests that wait for it are answered by it, later ones by
        the new one. The same request again waits for the same load; another one under that name takes its
        place.

        Raises RequestError (404 no such artifact, 409 replaced or removed meanwhile, or the name is taken by
        what is no model; 503 busy), UsageError, ArtifactError, BuildError, InferenceError (it cannot run).
        """
        request = self._opener.accepted(request)
        with self._lock:
            if name in self._attached:
                raise RequestError(f"the name {name!r} is taken", status_code=409, fix="remove what has it")
            load, slot = self._loads.get(name), self._slots.get(name)
            if load is None or load.request != request or load.is_forgotten:
                self._loads.stop(name)
                if slot is not None and slot.working is not None and slot.request == request:
                    return served_model(name, slot, None)
                load = self._begin(name, request)
        return self._result(name, load, wait_s)

    def load(self, name: str) -> None:
        """Load a model that is remembered, and wait for it; one that is ready stays as it is.

        Raises UnknownModelError, and what `put` raises.
        """
        with self._lock:
            load, slot = self._loads.get(name), self._slots.get(name)
            if load is None or load.has_ended:
                if slot is None:
                    raise self._unknown(name)
                if slot.working is not None:
                    return
                load = self._begin(name, slot.request)
        self._result(name, load, None)

    def unload(self, name: str) -> None:
        """Release a model but remember it, across restarts too; what waits is still answered.

        Raises UnknownModelError.
        """
        with self._lock:
            slot = self._slots.get(name)
            if slot is None:
                raise self._unknown(name)
            self._remembered.put(name, slot.request, loaded=False)
            self._slots[name] = Slot(slot.request, unloaded=True)
            self._loads.stop(name)
            self._retired.add(scheduler_of(slot))
        release(scheduler_of(slot))
        _log.info("model %s: unloaded", name)

    def remove(self, name: str) -> None:
        """Stop serving `name`, and loading it; what waits is still answered. Raises UnknownModelError."""
        with self._lock:
            slot = self._slots.get(name)
            if slot is None and name not in self._loads:
                raise self._unknown(name)
            if slot is not None:
                self._remembered.remove(name)
                del self._slots[name]
                self._retired.add(scheduler_of(slot))
            self._loads.stop(name)
        release(scheduler_of(slot))
        _log.info("model %s: removed", name)

    def attach(self, name: str, served: Served | Callable[[], Served]) -> None:
        """Let something that is no single model answer under `name`; it may raise RequestError 503 meanwhile.

        Raises RequestError 409: the name is taken.
        """
        with self._lock:
            if name in self._slots or name in self._loads:
                what = f"a model is served as {name!r}"
                raise RequestError(what, status_code=409, fix="remove it, or choose another name")
            self._attached[name] = served if callable(served) else lambda: served

    def detach(self, name: str) -> None:
        """Undo `attach`; nothing where nothing was attached."""
        with self._lock:
            self._attached.pop(name, None)

    def names_of(self, artifact_sha256: str) -> list[str]:
        """Names under which an artifact is served or about to be."""
        with self._lock:
            requests = [(name, slot.request) for name, slot in self._slots.items()]
            requests += [(name, load.request) for name, load in self._loads.items() if not load.has_ended]
        return sorted({name for name, request in requests if request.artifact_sha256 == artifact_sha256})

    def all(self) -> list[ServedModel]:
        """Every served model and every name being loaded, by name."""
        return [served_model(*entry) for entry in self._entries()]

    def index(self) -> list[RepositoryEntry]:
        """The same as a model repository lists it, and the names attached."""
        with self._lock:
            attached = [attached_entry(name, served) for name, served in self._attached.items()]
        entries = [repository_entry(*entry) for entry in self._entries()]
        return sorted(entries + attached, key=lambda entry: entry.name)

    def get(self, name: str) -> ServedModel:
        """One served model. Raises UnknownModelError."""
        with self._lock:
            slot, load = self._slots.get(name), self._loads.get(name)
        if slot is None and load is None:
            raise self._unknown(name)
        return served_model(name, slot, load)

    def model(self, name: str) -> Served:
        """What answers under `name`. Raises UnknownModelError, RequestError 503 when it is not ready."""
        attached = self._attached.get(name)
        return self._working(name).served if attached is None else attached()

    def drain(self, drain_s: float) -> bool:
        """Take no more requests, and answer those that wait, `drain_s` at most; whether all were answered."""
        with self._lock:
            working = [slot.working for slot in self._slots.values()]
            schedulers = [each.scheduler for each in working if each is not None] + list(self._retired)
        for scheduler in schedulers:
            scheduler.stop_accepting()
        deadline = time.monotonic() + drain_s
        return all([scheduler.close(deadline - time.monotonic()) for scheduler in schedulers])

    def close(self) -> None:
        """Release every model; they stay remembered. Who waits yet is refused; `drain` first otherwise."""
        with self._lock:
            loads = list(self._loads.values())
        deadline = time.monotonic() + _STOP_S
        for load in loads:
            load.wait(max(deadline - time.monotonic(), 0.0))
        self.drain(_STOP_S)

    def _entries(self) -> list[tuple[str, Slot | None, Load | None]]:
        with self._lock:
            names = sorted({*self._slots, *self._loads})
            return [(name, self._slots.get(name), self._loads.get(name)) for name in names]

    def _working(self, name: str) -> Working:
        slot, load = self._slots.get(name), self._loads.get(name)
        if slot is not None:
            return ready_model_of(name, slot)
        if load is None or load.has_ended:
            raise self._unknown(name)
        raise busy_error(f"model {name!r} is being loaded")

    def _submit(self, name: str, wanted: Wanted) -> Future[Answered]:
        """Queue it at the model that is served now."""
        while True:
            scheduler = self._working(name).scheduler
            try:
                return scheduler.submit(wanted)
            except ClosingError:
                if self._working(name).scheduler is scheduler:  # not replaced: the agent stops
                    raise

    def _begin(self, name: str, request: ServeRequest) -> Load:
        """Load it on a thread of its own: the request that asked may go away, and others may join."""
        load = self._loads[name] = Load(request)
        threading.Thread(
            target=self._run, args=(name, load, self.gate.wait_s), name=f"loading {name}", daemon=True
        ).start()
        return load

    def _run(self, name: str, load: Load, timeout_s: float | None) -> None:
        try:
            served = self._install(name, load, self._opener.open(name, load, timeout_s))
        except Exception as error:
            load.end(self._failure(name, load, error))
        else:
            _log.info("model %s: serves artifact %s", name, load.request.artifact_sha256[:12])
            load.end(served)

    def _install(self, name: str, load: Load, opened: Opened) -> ServedModel:
        slot = Slot(load.request, self._put_to_work(name, opened))
        try:
            with self._lock:  # database and slots change together, or a restart would serve another model
                if load.unwanted.is_set() or self._stopping.is_set():
                    raise busy_error("nobody wants it any more")
                old = self._slots.get(name)
                if old is None or old.request != load.request or old.unloaded:
                    self._remembered.put(name, load.request)
                self._slots[name] = slot
                self._loads.pop(name, None)
                self._retired.add(scheduler_of(old))
        except Exception:
            release(scheduler_of(slot))
            raise
        release(scheduler_of(old))
        return served_model(name, slot, None)

    def _put_to_work(self, name: str, opened: Opened) -> Working:
        runner, request, statistics = opened.runner, opened.request, ModelStatistics()
        found = opened.is_batch_found
        scheduler = Scheduler(runner, request, self.gate, statistics, name, leaves_some=found)
        asking = (partial(self._submit, name), lambda: scheduler.depth, scheduler.refuse_if_full)
        served = Served(name, runner.manifest, request, statistics, runner, *asking)
        return Working(served, scheduler)

    def _result(self, name: str, load: Load, wait_s: float | None) -> ServedModel | None:
        try:
            return load.result(wait_s)
        except Exception:
            with self._lock:
                self._loads.forget(name, load)  # told
            raise

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
            if slot is not None and slot.working is None:
                slot.error = sentence_of(error)
        return error

    def _unknown(self, name: str) -> UnknownModelError:
        known = ", ".join(sorted({*self._slots, *self._attached})) or "none"
        return UnknownModelError(f"no model {name!r} is served here", expected=f"one of: {known}")
