"""One file being loaded under a name: who asked waits for it, others see how far it is."""

from __future__ import annotations

import threading
import time
from typing import Protocol, TypeVar

from edge_s4op.messages import ServedModel, ServeRequest

__all__ = ["Load", "Loads"]

_KEPT_S = 60.0  # how long a failure waits for the client that polls for it


class Load:
    """From the request to serve a file until it is served or has failed. For several threads."""

    def __init__(self, request: ServeRequest) -> None:
        self.request = request
        self.unwanted = threading.Event()  # the name was removed, or another file is to be served under it
        self.at: tuple[str | None, float | None] = ("waiting for the device", 0.0)
        self._ended = threading.Event()
        self._ended_at = 0.0
        self._served: ServedModel | None = None
        self.error: Exception | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it was served or has failed."""
        return self._ended.is_set()

    @property
    def is_forgotten(self) -> bool:
        """Whether it ended so long ago that the same request means: try again."""
        return self.has_ended and time.monotonic() - self._ended_at > _KEPT_S

    def report(self, stage: str, share: float | None) -> None:
        """Tell others what is being done, and the share of that done, 0 to 1 (None: unknown)."""
        self.at = (stage, None if share is None else min(max(share, 0.0), 1.0))

    def end(self, outcome: ServedModel | Exception) -> None:
        """Let everybody who waits have the outcome."""
        if isinstance(outcome, Exception):
            self.error = outcome
        else:
            self._served = outcome
        self.at, self._ended_at = (None, None), time.monotonic()
        self._ended.set()

    def wait(self, timeout_s: float) -> None:
        """Wait for the end, at most so long."""
        self._ended.wait(timeout_s)

    def result(self, wait_s: float | None) -> ServedModel | None:
        """Wait for the end, at most `wait_s`; None when it has not come. Raises why it failed."""
        if not self._ended.wait(wait_s):
            return None
        if self.error is not None:
            raise self.error
        return self._served


class _Unwanted(Protocol):
    @property
    def unwanted(self) -> threading.Event: ...


L = TypeVar("L", bound=_Unwanted)


class Loads(dict[str, L]):
    """The load that counts under each name; all others are `unwanted`. Its owner's lock guards it."""

    def stop(self, name: str) -> None:
        """What is loaded under `name` is not wanted any more; nothing where nothing is."""
        load = self.pop(name, None)
        if load is not None:
            load.unwanted.set()

    def forget(self, name: str, load: L) -> None:
        """`load` has ended and its outcome is known; nothing where another one counts by now."""
        if self.get(name) is load:
            del self[name]
