"""The measurement under way: written by the worker, read by requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_s4op.messages import Job

__all__ = ["Running"]


@dataclass
class Running:
    """What is being done for a job, how much of that is done, and how long measuring will take yet."""

    job: Job
    changed: Callable[[], None]  # called after every report
    at: tuple[str, float | None] = ("waiting for the device", 0.0)  # stage, share of it done
    cancelled: threading.Event = field(default_factory=threading.Event)
    _ends_at: float | None = None

    def report(self, stage: str, share: float | None) -> None:
        """Tell requests what is being done."""
        self.at = (stage, None if share is None else min(max(share, 0.0), 1.0))
        self.changed()

    def expect(self, remaining_s: float) -> None:
        """Note how long the device will be held yet, at most."""
        self._ends_at = time.monotonic() + remaining_s

    def remaining_s(self) -> float | None:
        """How long the device will be held yet, at most; None where that is not known."""
        return None if self._ends_at is None else max(self._ends_at - time.monotonic(), 0.0)
