"""Families being served: loaded as a whole, attached to the names of models, remembered across restarts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from device_agent.errors import RequestError, busy_error, log_build, not_found_error, sentence_of
from device_agent.family import Family
from device_agent.family_loading import FamilyLoad, Loaded, check_alike, open_members
from device_agent.family_state import FamilySlot, described, ready_family_of
from device_agent.loads import Loads
from device_agent.opening import Opener
from device_agent.remembered import RememberedFamilies
from device_agent.retiring import Retired, release
from device_agent.scheduler import Answered, ClosingError, Wanted
from device_agent.served import Served
from device_agent.serving import Serving
from device_agent.statistics import ModelStatistics
from edge_s4op.errors import S4opError
from edge_s4op.messages import FamilyRequest, ServedFamily

__all__ = ["Families"]

_log = logging.getLogger("device_agent.families")

_STOP_S = 1.0


class Families:
    """The served families by name. For several threads."""

    def __init__(
        self,
        remembered: RememberedFamilies,
        serving: Serving,
        opener: Opener,
        stopping: threading.Event,
        temperature_c: Callable[[], float | None],
    ) -> None:
        self._remembered, self._serving, self._opener = remembered, serving, opener
        self._stopping, self._temperature_c = stopping, temperature_c
        self._lock = threading.Lock()
        self._slots = {name: FamilySlot(*known) for name, known in remembered.all().items()}
        self._loads: Loads[FamilyLoad] = Loads()
        self._retired: Retired[Family] = Retired()
        for name in self._slots:
            serving.attach(name, partial(self._served, name))

    def load_all(self) -> None:
        """Load what an earlier run served; a variant that fails is left out, and listed with its error."""
        with self._lock:
            names = [name for name, slot in self._slots.items() if slot.family is None]
        for name in names:
            with self._lock:
                slot = self._slots.get(name)
                if slot is None or slot.family is not None or name in self._loads:
                    continue  # a request was quicker
                load = self._loads[name] = FamilyLoad(slot.request)
            self._run(name, load, keep_going=True)
            with self._lock:
                self._loads.forget(name, load)
            if self._stopping.is_set():
                return

    def put(self, name: str, request: FamilyRequest, wait_s: float | None = None) -> ServedFamily | None:
        """Serve a family under `name`; None when that has not come about after `wait_s`.

        On any error what was served before stays. The same request again waits for the same load; another
        one under that name takes its place, and lets go of a pinned variant.

        Raises RequestError (404 no such artifact, 409 the name is a model's, or replaced or removed
        meanwhile; 503), UsageError, ArtifactError, BuildError, InferenceError (a variant cannot run).
        """
        request = self._accepted(request)
        with self._lock:
            load, slot = self._loads.get(name), self._slots.get(name)
            if load is None or load.request != request:
                if load is None and slot is not None and slot.request == request and _is_whole(slot):
                    return described(name, slot, None)
                load = self._begin(name, request)
        try:
            return load.result(wait_s)
        except Exception:
            with self._lock:
                self._loads.forget(name, load)  # told
            raise

    def get(self, name: str) -> ServedFamily:
        """One family. Raises RequestError 404."""
        with self._lock:
            slot, load = self._slots.get(name), self._loads.get(name)
        if slot is None and load is None:
            raise self._unknown(name)
        return described(name, slot, load)

    def all(self) -> list[ServedFamily]:
        """Every family served or being loaded, by name."""
        with self._lock:
            names = sorted({*self._slots, *self._loads})
            entries = [(name, self._slots.get(name), self._loads.get(name)) for name in names]
        return [described(*entry) for entry in entries]

    def remove(self, name: str) -> None:
        """Stop serving `name`, and loading it; what waits is still answered. Raises RequestError 404."""
        with self._lock:
            slot = self._slots.get(name)
            if slot is None and name not in self._loads:
                raise self._unknown(name)
            if slot is not None:
                self._remembered.remove(name)
                del self._slots[name]
            self._loads.stop(name)
            self._serving.detach(name)
            self._retired.add(None if slot is None else slot.family)
        release(None if slot is None else slot.family)
        _log.info("family %s: removed", name)

    def pin(self, name: str, variant: str | None) -> ServedFamily:
        """Hold one variant, across restarts too; None: choose again.

        Raises RequestError: 404 no such family or variant, 503 not ready.
        """
        with self._lock:
            slot = self._slots.get(name)
            if slot is None and name not in self._loads:
                raise self._unknown(name)
            family, _ = ready_family_of(name, slot)
            assert slot is not None
            family.pin(variant)
            self._remembered.put(name, slot.request, variant)
            slot.pinned = variant
        return described(name, slot, None)

    def names_of(self, artifact_sha256: str) -> list[str]:
        """Families that have an artifact, or are about to."""
        with self._lock:
            requests = [(name, slot.request) for name, slot in self._slots.items()]
            requests += [(name, load.request) for name, load in self._loads.items() if load.error is None]
        users = {n for n, r in requests if artifact_sha256 in {v.artifact_sha256 for v in r.variants}}
        return sorted(users)

    def stop_accepting(self) -> None:
        """Take no more requests; those that wait are still answered. Returns at once."""
        for family in self._at_work():
            family.stop_accepting()

    def drain(self, drain_s: float) -> bool:
        """Take no more requests, and answer those that wait, `drain_s` at most; whether all were answered."""
        self.stop_accepting()
        deadline = time.monotonic() + drain_s
        return all([family.close(deadline - time.monotonic()) for family in self._at_work()])

    def close(self) -> None:
        """Release every family; they stay remembered."""
        with self._lock:
            loads = list(self._loads.values())
        for load in loads:
            load.unwanted.set()
        self.drain(_STOP_S)

    def _at_work(self) -> list[Family]:
        with self._lock:
            return [*(slot.family for slot in self._slots.values() if slot.family), *self._retired]

    def _accepted(self, request: FamilyRequest) -> FamilyRequest:
        """`request` with its backend named. Raises what Opener.accepted does, UsageError: unlike variants."""
        accepted = [self._opener.accepted(request.serve_request(each)) for each in request.variants]
        store = self._opener.store
        check_alike({each.name: store.get(each.artifact_sha256).manifest for each in request.variants})
        return request.model_copy(update={"backend": accepted[0].backend})

    def _begin(self, name: str, request: FamilyRequest) -> FamilyLoad:
        """Load it on a thread of its own, the lock held. Raises RequestError 409: the name is a model's."""
        self._serving.attach(name, partial(self._served, name))
        self._loads.stop(name)
        load = self._loads[name] = FamilyLoad(request)
        threading.Thread(
            target=self._run, args=(name, load), name=f"loading family {name}", daemon=True
        ).start()
        return load

    def _run(self, name: str, load: FamilyLoad, *, keep_going: bool = False) -> None:
        whole = ModelStatistics()
        try:
            loaded = open_members(self._opener, self._serving.gate, name, load, whole, keep_going=keep_going)
            served = self._install(name, load, loaded, whole)
        except Exception as error:
            load.outcome.set_exception(self._failure(name, load, error))
        else:
            load.outcome.set_result(served)

    def _install(self, name: str, load: FamilyLoad, loaded: Loaded, whole: ModelStatistics) -> ServedFamily:
        request, known = load.request, [each.variant.name for each in loaded.members]
        family = Family(name, request, loaded.members, temperature_c=self._temperature_c)
        served = Served(
            name=name,
            manifest=loaded.manifest,
            request=loaded.request,
            statistics=whole,
            runner=None,
            submit=partial(self._submit, name),
            waiting=lambda: family.depth,
        )
        try:
            with self._lock:  # database and slots change together, or a restart would serve another one
                if load.unwanted.is_set() or self._stopping.is_set():
                    raise busy_error("nobody wants it any more")
                old = self._slots.get(name)
                pinned = old.pinned if old is not None and old.request == request else None
                if old is None or old.request != request:
                    self._remembered.put(name, request, None)
                slot = FamilySlot(request, pinned, family, served, None, loaded.errors)
                if pinned in known:
                    family.pin(pinned)
                self._slots[name] = slot
                self._loads.pop(name, None)
                self._retired.add(None if old is None else old.family)
        except Exception:
            family.stop_accepting()
            raise
        release(None if old is None else old.family)
        if request.policy.temperature_limit_c is not None and family.temperature_c() is None:
            _log.warning("family %s: no temperature can be read now, so its limit has no effect", name)
        _log.info("family %s: serves %s", name, ", ".join(known))
        return described(name, slot, None)

    def _failure(self, name: str, load: FamilyLoad, error: Exception) -> Exception:
        """What to tell those who wait; a name without a family is let go of, or listed with it."""
        if self._stopping.is_set():
            return RequestError("the agent is stopping", status_code=503)
        if load.unwanted.is_set():
            what = f"family {name!r} was removed or replaced while its variants were loaded"
            return RequestError(what, status_code=409)
        _log.warning(
            "family %s: cannot be loaded: %s", name, error, exc_info=not isinstance(error, S4opError)
        )
        log_build(error)
        with self._lock:
            slot = self._slots.get(name)
            if slot is None and self._loads.get(name) is load:
                self._serving.detach(name)
            elif slot is not None and slot.family is None:
                slot.error = sentence_of(error)
        return error

    def _served(self, name: str) -> Served:
        return ready_family_of(name, self._slots.get(name))[1]

    def _submit(self, name: str, wanted: Wanted) -> Future[Answered]:
        """Queue it at the family that is served now."""
        while True:
            family, _ = ready_family_of(name, self._slots.get(name))
            try:
                return family.submit(wanted)
            except ClosingError:
                if ready_family_of(name, self._slots.get(name))[0] is family:  # the agent stops
                    raise

    def _unknown(self, name: str) -> RequestError:
        known = ", ".join(sorted(self._slots)) or "none"
        return not_found_error(f"no family {name!r} is served here", fix=f"one of: {known}")


def _is_whole(slot: FamilySlot) -> bool:
    return slot.family is not None and not slot.errors
