"""The agents of a search, by kind of device: they measure in parallel, and one that is lost is waited for."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from edge_s4op.artifact import Artifact
from edge_s4op.client import AgentClient
from edge_s4op.errors import AgentUnreachableError, UsageError
from edge_s4op.messages import DeviceFacts, Job, MeasurementSettings
from host.measuring import Measurement, measure_artifact

__all__ = ["Fleet", "Kind", "Patience", "open_fleet"]

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long an agent that does not answer is waited for, and how often it is asked, s."""

    wait_s: float = 300.0
    ask_every_s: float = 2.0
    on_wait: Callable[[str], None] = lambda reason: None
    sleep: Callable[[float], None] = time.sleep

    def keep_asking(self, call: Callable[[], T]) -> T:
        """`call()`, again after a pause while its agent is lost. Raises its last AgentUnreachableError."""
        deadline = time.monotonic() + self.wait_s
        while True:
            try:
                return call()
            except AgentUnreachableError as error:
                if time.monotonic() + self.ask_every_s > deadline:
                    raise
                self.on_wait(str(error))
                self.sleep(self.ask_every_s)


@dataclass(frozen=True)
class Kind:
    """Devices of one fingerprint, whose latencies compare: what they are, and the agents on them."""

    device: DeviceFacts
    settings: MeasurementSettings
    agents: tuple[AgentClient, ...]
    free: queue.SimpleQueue[AgentClient] = field(default_factory=queue.SimpleQueue, compare=False)

    def __post_init__(self) -> None:
        for agent in self.agents:
            self.free.put(agent)

    def measure(
        self, artifact: Artifact, patience: Patience, on_progress: Callable[[Job], None] | None = None
    ) -> Measurement:
        """Measure on the first agent that is free. Raises AgentError."""
        agent = self.free.get()
        try:
            return patience.keep_asking(
                lambda: measure_artifact(
                    agent,
                    artifact,
                    self.settings,
                    device_fingerprint=self.device.fingerprint,
                    on_progress=on_progress,
                )
            )
        finally:
            self.free.put(agent)


@dataclass(frozen=True)
class Fleet:
    """All agents of a search; the first kind's latencies are the ones trials are compared by."""

    kinds: tuple[Kind, ...]
    patience: Patience

    @property
    def agents(self) -> int:
        return sum(len(kind.agents) for kind in self.kinds)

    def run(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """The jobs' results, in order; side by side where there is more than one agent.

        One agent is driven from the caller's own thread: progress then arrives in order, and Ctrl-C stops
        what runs. The first error ends the rest.
        """
        if self.agents == 1:
            return [job() for job in jobs]
        with ThreadPoolExecutor(max_workers=self.agents) as pool:
            futures = [pool.submit(job) for job in jobs]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise


def open_fleet(
    agents: Sequence[AgentClient],
    settings: MeasurementSettings,
    *,
    mixed: bool = False,
    patience: Patience | None = None,
) -> Fleet:
    """Ask every agent what it runs on, and sort them by device fingerprint.

    `settings` without a backend take each device's default one: latencies of two backends do not compare.
    Raises UsageError when they are devices of different kinds and `mixed` is not set, and AgentError when
    one does not answer: an address that never worked is not waited for.
    """
    if not agents:
        raise UsageError("a search needs an agent that measures", fix="give at least one")
    patience = patience or Patience()
    by_kind: dict[str, list[tuple[AgentClient, DeviceFacts]]] = {}
    for agent in agents:
        facts = agent.device()
        by_kind.setdefault(facts.fingerprint, []).append((agent, facts))
    if len(by_kind) > 1 and not mixed:
        raise UsageError(
            "the agents run on devices of different kinds, whose latencies do not compare",
            expected="one device fingerprint",
            found="; ".join(_described(members) for members in by_kind.values()),
            fix="name agents of one kind, or hold every budget on all of them (--mixed-devices)",
        )
    kinds = tuple(_kind(members, settings) for members in by_kind.values())
    return Fleet(kinds, patience)


def locked(lock: threading.Lock, call: Callable[..., None]) -> Callable[..., None]:
    """`call`, never by two threads at once."""

    def one_at_a_time(*values: object, **named: object) -> None:
        with lock:
            call(*values, **named)

    return one_at_a_time


def _kind(members: list[tuple[AgentClient, DeviceFacts]], settings: MeasurementSettings) -> Kind:
    facts = members[0][1]
    backend = settings.backend or facts.default_backend
    return Kind(facts, settings.model_copy(update={"backend": backend}), tuple(agent for agent, _ in members))


def _described(members: list[tuple[AgentClient, DeviceFacts]]) -> str:
    facts = members[0][1]
    urls = ", ".join(agent.url for agent, _ in members)
    return f"{facts.board}, {facts.cpu}, fingerprint {facts.fingerprint[:12]} at {urls}"
