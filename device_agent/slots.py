"""One served name: its request, its runner, what the agent says of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from device_agent.errors import RequestError, busy_error, sentence_of
from device_agent.loads import Load
from edge_s4op.messages import ServedModel, ServeRequest
from edge_s4op.runtime import Runner

__all__ = ["Slot", "ready_runner_of", "served_model"]


@dataclass
class Slot:
    """One served name: still to be loaded (neither runner nor error), ready, or failed."""

    request: ServeRequest
    runner: Runner | None = None
    error: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)  # a runner runs or closes, not both

    def close(self) -> None:
        """Release the model, once no inference runs on it."""
        with self.lock:
            runner, self.runner = self.runner, None
        if runner is not None:
            runner.close()


def ready_runner_of(name: str, slot: Slot) -> Runner:
    """The loaded model. Raises RequestError 503 when it is not ready."""
    if slot.runner is not None:
        return slot.runner
    if slot.error is None:
        raise busy_error(f"model {name!r} is being loaded")
    raise RequestError(
        f"model {name!r} could not be loaded: {slot.error}",
        status_code=503,
        fix=f"serve it again: PUT /v1/models/{name}",
    )


def served_model(name: str, slot: Slot | None, load: Load | None) -> ServedModel:
    """What is served under `name`, and what is being loaded there; one of the two is given."""
    known = slot or load
    assert known is not None
    stage, progress = (None, None) if load is None else load.at
    error = None if slot is None else slot.error
    if load is not None and load.error is not None:
        error = sentence_of(load.error)
    ready = slot is not None and slot.runner is not None
    return ServedModel(
        name=name, serving=known.request, ready=ready, error=error, stage=stage, progress=progress
    )
