"""A served model as this package asks it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from device_agent.serving import Serving
from edge_s4op.artifact import Manifest
from edge_s4op.messages import ServeRequest
from edge_s4op.runtime import Array

__all__ = ["Answered", "Served", "Wanted", "served_of"]

_pool = ThreadPoolExecutor(8)


@dataclass(frozen=True)
class Wanted:
    feeds: Mapping[str, Array]
    priority: int = 0
    timeout_s: float | None = None


@dataclass(frozen=True)
class Answered:
    outputs: dict[str, Array]
    variant: str | None = None


@dataclass(frozen=True)
class Served:
    serving: Serving
    name: str
    manifest: Manifest
    request: ServeRequest
    backend: str

    def submit(self, wanted: Wanted) -> Future[Answered]:
        return _pool.submit(self._run, wanted)

    def _run(self, wanted: Wanted) -> Answered:
        with self.serving.borrow(self.name) as runner:
            return Answered(runner.run(wanted.feeds))


def served_of(serving: Serving, name: str) -> Served:
    runner = serving.ready_runner(name)
    return Served(serving, name, runner.manifest, serving.get(name).serving, runner.backend)
