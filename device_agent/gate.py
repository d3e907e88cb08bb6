"""The way to the device for whoever runs a served model: kept off, or counted, while a measurement runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from device_agent.errors import RequestError
from device_agent.lease import DeviceLease
from device_agent.traffic import Traffic

__all__ = ["Gate"]


@dataclass(frozen=True)
class Gate:
    """One for all models of an agent.

    With `is_open` (the agent shares the device) nobody waits, and measurements learn of the traffic; else
    inference waits for a measurement, `wait_s` at most.
    """

    lease: DeviceLease
    traffic: Traffic
    is_open: bool = False
    wait_s: float = 10.0

    def enter(self, unwanted: Callable[[], bool], on_wait: Callable[[bool], None]) -> bool:
        """Get the device, however long that takes; `leave` afterwards.

        `on_wait(True)` is called before waiting, `on_wait(False)` after it. False, and nothing to leave: soon
        after `unwanted()` turned true.
        """
        if self.is_open or self.lease.try_share():
            return True
        on_wait(True)
        try:
            self.lease.share(unwanted=unwanted)
        except RequestError:
            return False
        finally:
            on_wait(False)
        return True

    def leave(self) -> None:
        """Give the device back."""
        if not self.is_open:
            self.lease.unshare()

    @contextlib.contextmanager
    def inference(self, requests: int = 1) -> Iterator[None]:
        """The device for one run that answers `requests`, for those who need no queue.

        Raises RequestError 503 (busy, with Retry-After) after `wait_s`.
        """
        if not self.is_open and not self.lease.try_share():
            self.lease.share(timeout_s=self.wait_s)
        try:
            with self.traffic.inference(requests):
                yield
        finally:
            self.leave()

    def refusal(self) -> RequestError:
        """503: the device is busy, with what, and when to come back."""
        return self.lease.refusal()
