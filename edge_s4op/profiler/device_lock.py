"""One lock for the whole machine, so that two programs never measure on it at once.

It is a file (and a second one, for who waits) that everybody may lock and nobody removes. The kernel's
`flock` holds it, so that the lock of a process that was killed is free again. It orders those who ask for it:
agents, each for as long as it loads a model (which may build an engine) or measures one, and whoever else
measures. It keeps nobody else off the device, and does not reach beyond a container with folders of its own.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from edge_s4op.errors import MeasurementError, StorageError

__all__ = ["DEVICE_LOCK_VARIABLE", "DeviceLock", "default_device_lock"]

DEVICE_LOCK_VARIABLE = "S4OP_DEVICE_LOCK"

_FOLDERS = (Path("/run/lock"), Path("/tmp"))  # not $TMPDIR: it differs between users
_NAME = "s4op-device.lock"
_POLL_S = 0.1  # a try takes some 0.1 ms of the processor that the holder measures on


def default_device_lock() -> Path:
    """The same file for every user of this machine, unless the variable S4OP_DEVICE_LOCK names another."""
    named = os.environ.get(DEVICE_LOCK_VARIABLE)
    return Path(named) if named else _common_folder() / _NAME


class DeviceLock:
    """The device's lock in the file `path`, or the default one. Not re-entrant; for several threads."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_device_lock()

    @contextlib.contextmanager
    def hold(
        self, *, timeout_s: float | None = None, unwanted: Callable[[], bool] | None = None
    ) -> Iterator[None]:
        """Hold the device against every other holder, in this process and in others.

        Raises MeasurementError when another holds it for `timeout_s` (None: wait on), or soon after
        `unwanted()` turns true; StorageError when the file cannot be locked.
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        with contextlib.ExitStack() as held:
            with self._locked(self._next, deadline, unwanted or _never):
                held.enter_context(self._locked(self.path, deadline, unwanted or _never))
            yield

    def check(self) -> None:
        """Raise StorageError when the file cannot be locked, whoever holds it."""
        for path in (self._next, self.path):
            lock = _file_lock(path)
            if self._try(lock):
                lock.release()

    @property
    def _next(self) -> Path:
        """Held by the one that waits, so that a holder that comes back at once queues behind it."""
        return self.path.with_name(f"{self.path.name}.next")

    @contextlib.contextmanager
    def _locked(self, path: Path, deadline: float, unwanted: Callable[[], bool]) -> Iterator[None]:
        lock = _file_lock(path)
        while not self._try(lock):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or unwanted():
                raise MeasurementError(
                    "the device is busy: another program measures on it or loads a model",
                    found=f"{self.path} locked",
                    fix="try again when it has ended",
                )
            time.sleep(min(_POLL_S, left_s))
        try:
            yield
        finally:
            lock.release()

    def _try(self, lock: FileLock) -> bool:
        try:
            lock.acquire(blocking=False)
        except Timeout:  # an OSError, too
            return False
        except OSError as error:
            raise StorageError(
                f"cannot lock the device with {lock.lock_file}: {error.strerror or error}",
                expected="a file that every user who measures may open, on a local disk",
                fix=f"name another with {DEVICE_LOCK_VARIABLE}, the same for all of them",
            ) from error
        return True


def _file_lock(path: Path) -> FileLock:
    return FileLock(path, mode=0o666)  # whatever the umask


def _common_folder() -> Path:
    """The first folder that everybody may write to, so that everybody finds the same."""
    for folder in _FOLDERS:
        with contextlib.suppress(OSError):
            if folder.stat().st_mode & stat.S_IWOTH:
                return folder
    return _FOLDERS[-1]


def _never() -> bool:
    return False
