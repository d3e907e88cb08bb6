"""Memory of a process and of the machine, as the kernel counts it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MACHINE", "Memory"]


@dataclass(frozen=True)
class Memory:
    """Readings from /proc below `root`; on a Jetson, GPU memory is part of the machine's."""

    root: Path = Path("/")

    def resident_bytes(self, pid: int) -> int:
        """Resident set of a process; 0 once it is gone."""
        try:
            pages = int((self.root / f"proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):  # it ended between two looks
            return 0
        return pages * os.sysconf("SC_PAGESIZE")

    def available_bytes(self) -> int | None:
        """What the kernel could hand out without swapping; None where it does not say."""
        return _entry(self.root / "proc/meminfo", "MemAvailable:", unit=1024)

    def kernel_kills(self) -> int:
        """How many processes the kernel has killed for want of memory since it started."""
        return _entry(self.root / "proc/vmstat", "oom_kill", unit=1) or 0


MACHINE = Memory()


def _entry(path: Path, name: str, unit: int) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if words and words[0] == name:
            return int(words[1]) * unit
    return None
