"""What is no longer served under its name, and still answers what waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["Closing", "Retired", "release"]

_RELEASE_S = 1.0  # how long who removes something waits for its memory to be free again


class Closing(Protocol):
    """A scheduler, or a family of them: after `stop_accepting` it closes by itself."""

    def stop_accepting(self) -> None:
        """Refuse new requests; those that wait are still answered."""

    def wait(self, timeout_s: float) -> bool:
        """Whether all that waited is answered and everything closed, within that time."""


C = TypeVar("C", bound=Closing)


class Retired(Generic[C]):
    """Those that have not closed yet; whoever adds to it holds the lock of what they were taken from."""

    def __init__(self) -> None:
        self._closing: set[C] = set()

    def add(self, closing: C | None) -> None:
        """Keep one in mind until it has closed; None is nothing."""
        if closing is not None:
            self._closing = {other for other in self._closing if not other.wait(0)} | {closing}

    def __iter__(self) -> Iterator[C]:
        return iter(tuple(self._closing))


def release(closing: Closing | None) -> None:
    """Let it answer what waits; returns when it has closed, or after a moment. None is nothing."""
    if closing is not None:
        closing.stop_accepting()
        closing.wait(_RELEASE_S)
