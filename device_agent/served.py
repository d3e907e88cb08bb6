"""What requests see of a served name: a model, or whatever answers under that name."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from device_agent.scheduler import Answered, Wanted
from device_agent.statistics import ModelStatistics
from edge_s4op.artifact import Manifest
from edge_s4op.messages import ServeRequest
from edge_s4op.runtime import Runner

__all__ = ["Served"]


@dataclass(frozen=True)
class Served:
    """A name that can be asked now.

    `submit` queues a request and returns at once, as Scheduler.submit does; when the model is replaced
    meanwhile, the new one answers. `refuse_if_full` raises what `submit` would of a full queue. `runner` is
    None where several models answer under the name; who runs it without `submit` does so inside
    `Serving.gate.inference()`.
    """

    name: str
    manifest: Manifest
    request: ServeRequest
    statistics: ModelStatistics
    runner: Runner | None
    submit: Callable[[Wanted], Future[Answered]]
    waiting: Callable[[], int]
    refuse_if_full: Callable[[], None] = lambda: None

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return self.waiting()

    @property
    def backend(self) -> str:
        """Name of the backend that runs it."""
        return self.request.backend or ""
