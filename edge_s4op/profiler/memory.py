"""Memory of this process while a model runs, from Linux's /proc/self; nothing that cannot be read fails.

The kernel keeps the most resident memory a process ever had (VmHWM, proc_pid_status(5)); writing 5 to
/proc/self/clear_refs starts that record anew (proc_pid_clear_refs(5)), so that it tells of the window alone.
Where that may not be written, as in some containers, the larger of both ends of the window stands for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge_s4op.messages import Memory

__all__ = ["MemoryWatch", "resident_bytes", "watch_memory"]

_RESET_PEAK = "5"


@dataclass
class MemoryWatch:
    """Filled in when its window ends."""

    _memory: Memory = field(default_factory=lambda: Memory(peak_bytes=None, model_bytes=None))

    def memory(self) -> Memory:
        """What the window saw; nothing before its end."""
        return self._memory


@contextlib.contextmanager
def watch_memory(before_bytes: int | None = None, root: Path = Path("/")) -> Iterator[MemoryWatch]:
    """Watch resident memory while the body runs; `before_bytes` were resident before the model was loaded."""
    watch = MemoryWatch()
    at_start, peak_is_ours = resident_bytes(root), _start_peak(root)
    yield watch
    at_end = resident_bytes(root)
    ends = [value for value in (at_start, at_end) if value is not None]
    peak = _status_bytes("VmHWM", root) if peak_is_ours else max(ends, default=None)
    added = None if before_bytes is None or at_end is None else at_end - before_bytes
    watch._memory = Memory(peak_bytes=peak, model_bytes=added)


def resident_bytes(root: Path = Path("/")) -> int | None:
    """This process's resident memory now; None where it cannot be read."""
    return _status_bytes("VmRSS", root)


def _start_peak(root: Path) -> bool:
    try:
        (root / "proc/self/clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _status_bytes(name: str, root: Path) -> int | None:
    try:
        lines = (root / "proc/self/status").read_text().splitlines()
    except (OSError, ValueError):
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key == name:
            number = value.removesuffix("kB").strip()
            return int(number) * 1024 if number.isdigit() else None
    return None
