"""Processor time: what all programs, this process and the machine's host took between two moments.

/proc/stat counts in ticks of 10 ms, and a core's tick goes to whoever runs when the timer fires; this
process's own time (all its threads: an agent's HTTP, too) is exact.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_s4op.profiler.telemetry.sensors import text_of, usable_cores

__all__ = ["TICK_S", "CpuTimes", "read_cpu_times"]

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_LEAST_COLUMNS = 7  # up to softirq


@dataclass(frozen=True)
class CpuTimes:
    """Seconds since boot, summed over the `cores` this process may use; `own_s` is this process's."""

    at_s: float
    cores: int
    busy_s: float
    steal_s: float
    own_s: float


def read_cpu_times(
    root: Path,
    own: Callable[[], float] = time.process_time,
    clock: Callable[[], float] = time.monotonic,
) -> CpuTimes | None:
    """The times now; None where /proc/stat has none."""
    names = {f"cpu{core}" for core in usable_cores(root)}
    rows = [line.split() for line in text_of(root / "proc/stat").splitlines() if line.startswith("cpu")]
    try:
        # user nice system idle iowait irq softirq steal; guests' time is in user's.
        ticks = [[int(value) for value in row[1:9]] for row in rows if row[0] in names]
        busy = sum(sum(row[0:3]) + sum(row[5:7]) for row in ticks)
        steal = sum(row[7] if len(row) > 7 else 0 for row in ticks)
    except ValueError:
        return None
    if not ticks or min(len(row) for row in ticks) < _LEAST_COLUMNS:
        return None
    return CpuTimes(clock(), len(ticks), busy * TICK_S, steal * TICK_S, own())
