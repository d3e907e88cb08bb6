"""One served name: its request, its model at work, what the agent says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from device_agent.errors import RequestError, busy_error, sentence_of
from device_agent.loads import Load
from device_agent.scheduler import Scheduler
from device_agent.served import Served
from edge_s4op.messages import RepositoryEntry, ServedModel, ServeRequest

__all__ = [
    "Slot",
    "Working",
    "attached_entry",
    "ready_model_of",
    "repository_entry",
    "scheduler_of",
    "served_model",
]


@dataclass(frozen=True)
class Working:
    """A loaded model: what requests see, and what runs them."""

    served: Served
    scheduler: Scheduler


@dataclass
class Slot:
    """One served name: ready (`working`), failed (`error`), unloaded, or yet to be loaded (none of them)."""

    request: ServeRequest
    working: Working | None = None
    error: str | None = None
    unloaded: bool = False


def ready_model_of(name: str, slot: Slot) -> Working:
    """The loaded model. Raises RequestError 503 when it is not ready."""
    if slot.working is not None:
        return slot.working
    if slot.unloaded:
        what, fix = f"model {name!r} is unloaded", f"load it: POST /v2/repository/models/{name}/load"
        raise RequestError(what, status_code=503, fix=fix)
    if slot.error is None:
        raise busy_error(f"model {name!r} is being loaded")
    raise RequestError(
        f"model {name!r} could not be loaded: {slot.error}",
        status_code=503,
        fix=f"serve it again: PUT /v1/models/{name}",
    )


def scheduler_of(slot: Slot | None) -> Scheduler | None:
    """What answers requests to it, if anything does."""
    return None if slot is None or slot.working is None else slot.working.scheduler


def served_model(name: str, slot: Slot | None, load: Load | None) -> ServedModel:
    """What is served under `name`, and what is being loaded there; one of the two is given."""
    known = slot or load
    assert known is not None
    stage, progress = (None, None) if load is None else load.at
    return ServedModel(
        name=name,
        serving=known.request,
        ready=slot is not None and slot.working is not None,
        max_batch=None if slot is None or slot.working is None else slot.working.served.request.max_batch,
        unloaded=slot is not None and slot.unloaded,
        error=_error_of(slot, load),
        stage=stage,
        progress=progress,
    )


def repository_entry(name: str, slot: Slot | None, load: Load | None) -> RepositoryEntry:
    """The same as a line of the repository's index."""
    if slot is not None and slot.working is not None:
        return RepositoryEntry(name=name, state="READY")
    if load is not None and not load.has_ended:
        return RepositoryEntry(name=name, state="LOADING", reason=load.at[0] or "")
    error = _error_of(slot, load)
    if error is not None:
        return RepositoryEntry(name=name, state="UNAVAILABLE", reason=error)
    if slot is not None and slot.unloaded:
        return RepositoryEntry(name=name, state="UNAVAILABLE", reason="unloaded")
    return RepositoryEntry(name=name, state="LOADING", reason="waiting for its turn")


def attached_entry(name: str, served: Callable[[], Served]) -> RepositoryEntry:
    """The same of what is no single model."""
    try:
        served()
    except RequestError as error:
        state: Literal["LOADING", "UNAVAILABLE"] = "LOADING" if error.retry_after_s else "UNAVAILABLE"
        return RepositoryEntry(name=name, state=state, reason=sentence_of(error))
    return RepositoryEntry(name=name, state="READY")


def _error_of(slot: Slot | None, load: Load | None) -> str | None:
    if load is not None and load.error is not None:
        return sentence_of(load.error)
    return None if slot is None else slot.error
