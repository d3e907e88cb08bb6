"""How many inferences run, so that a measurement can tell whether any ran beside it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["Traffic"]


class Traffic:
    """Counts inferences. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = self._ended = 0

    @contextlib.contextmanager
    def inference(self, requests: int = 1) -> Iterator[None]:
        """So many requests are inferred inside the block."""
        with self._lock:
            self._begun += requests
        try:
            yield
        finally:
            with self._lock:
                self._ended += requests

    def mark(self) -> int:
        """A moment, for `since`: how many have ended."""
        return self._ended

    def since(self, mark: int) -> int:
        """How many ran after that moment: all that began, but for those that had ended by then."""
        return self._begun - mark
