"""Which disturbances readings show: pure functions, each with the threshold it goes by and why.

A threshold is as low as an idle machine allows: a false alarm makes a search measure again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from edge_s4op.messages import Disturbance
from edge_s4op.profiler.telemetry.load import TICK_S, CpuTimes

__all__ = ["clock_changes", "cpu_disturbances", "gpu_disturbances", "throttling"]

Readings = Sequence[Mapping[str, float]]

# An idle Linux takes 0.02 core; a sixth of a core is 8 % of a two-core machine's time.
_OTHER_CORES, _OTHER_SHARE = 0.15, 0.02
_STEAL_CORES, _STEAL_SHARE = 0.02, 0.005
# Rounding to ticks at both ends, on each of two cores, and a model that begins and ends within one.
_SLACK_TICKS = 4
# One step of a Jetson's cores is 5 % at the top, turbo wanders by 2 or 3 %.
_CLOCK_CHANGE = 0.05
_LEAST_CLOCKS = 5
# A desktop that draws a cursor takes 1 to 3 %.
_GPU_LOAD_PERCENT = 5.0
# The kernel acts on a trip point some time after it is reached, and below it until the hysteresis.
_TRIP_MARGIN_C = 1.0


def cpu_disturbances(before: CpuTimes | None, after: CpuTimes | None) -> Iterator[Disturbance]:
    """ "cpu-load" of other programs and "cpu-steal" of a virtual machine's host, between two moments."""
    if before is None or after is None or after.at_s <= before.at_s:
        return
    seconds, cores = after.at_s - before.at_s, after.cores
    other_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    steal_s, slack_s = after.steal_s - before.steal_s, _SLACK_TICKS * TICK_S
    if other_s > max(_OTHER_CORES, _OTHER_SHARE * cores) * seconds + slack_s:
        what = f"other programs took {other_s / seconds:.2f} of {cores} cores for {seconds:.1f} s"
        yield Disturbance(kind="cpu-load", what=what)
    if steal_s > max(_STEAL_CORES, _STEAL_SHARE * cores) * seconds + slack_s / 2:
        what = f"the host of this virtual machine took {steal_s / seconds:.2f} of {cores} cores"
        yield Disturbance(kind="cpu-steal", what=what)


def throttling(
    before: Mapping[str, float], readings: Readings, trips: Mapping[str, float]
) -> Iterator[Disturbance]:
    """States above 0, counters that went up since `before`, temperatures at a passive trip point."""
    causes = [*_slowed(before, readings), *_hot(readings, trips)]
    if causes:
        yield Disturbance(kind="throttling", what="the board slowed itself down: " + ", ".join(causes))


def _slowed(before: Mapping[str, float], readings: Readings) -> Iterator[str]:
    for name in dict.fromkeys(n for reading in readings for n in reading if n.startswith("throttle ")):
        values = [reading[name] for reading in readings if name in reading]
        what = name.removeprefix("throttle ")
        if name.endswith(" count"):
            events = values[-1] - before.get(name, values[0])
            if events > 0:
                yield f"{what.removesuffix(' count')} {events:.0f} times"
        elif any(values):
            share = sum(value > 0 for value in values) / len(values)
            yield f"{what.removesuffix(' state')} in {share:.0%} of readings"


def _hot(readings: Readings, trips: Mapping[str, float]) -> Iterator[str]:
    for name, trip_c in trips.items():
        hottest = max((reading[name] for reading in readings if name in reading), default=-math.inf)
        if hottest >= trip_c - _TRIP_MARGIN_C:
            yield f"{name} {hottest:.1f} °C at its limit of {trip_c:.0f} °C"


def clock_changes(readings: Readings, clocks: Sequence[str]) -> Iterator[Disturbance]:
    """Clocks that moved by more than 5 %, one reading in twenty (at least one) left out on either side."""
    for name in clocks:
        values = sorted(reading[name] for reading in readings if name in reading)
        if len(values) < _LEAST_CLOCKS:
            continue
        odd = math.ceil(len(values) / 20)
        low, high = values[odd], values[-1 - odd]
        if high - low > _CLOCK_CHANGE * high:
            unit = name.removeprefix("clock ")
            yield Disturbance(
                kind="clocks", what=f"the {unit} clock was between {low:.0f} and {high:.0f} MHz"
            )


def gpu_disturbances(idle: Readings, others: int) -> Iterator[Disturbance]:
    """Load of the GPU before we used it, and `others`: processes beside ours that use it."""
    loads = sorted(reading["load gpu"] for reading in idle if "load gpu" in reading)
    if loads and (load := loads[len(loads) // 2]) > _GPU_LOAD_PERCENT:
        yield Disturbance(kind="gpu-load", what=f"the GPU was {load:.0f} % busy before the model ran")
    if others > 0:
        plural = "process uses" if others == 1 else "processes use"
        yield Disturbance(kind="gpu-load", what=f"{others} other {plural} the GPU")
