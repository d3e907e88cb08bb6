"""Which latencies of a family do not compare with one another, and why."""

from __future__ import annotations

import itertools

from edge_s4op.profiler.comparable import differences
from host.family import Family
from host.report.names import device_names, trial_name

__all__ = ["device_differences", "strangers"]


def device_differences(family: Family) -> list[str]:
    """One line per pair of devices: that their latencies do not compare, and in what they differ."""
    named = zip(device_names(family), (family.device, *family.other_devices), strict=True)
    lines = []
    for (first, one), (second, other) in itertools.combinations(named, 2):
        if why := "; ".join(differences(one, other)):
            lines.append(f"latencies on {first} and on {second} do not compare: {why}")
    return lines


def strangers(family: Family) -> list[str]:
    """One line per latency of a trial that was measured on none of the family's devices."""
    devices = (family.device, *family.other_devices)
    return [
        f"{trial_name(trial)}: its latency does not compare: it was measured on device "
        f"{taken.device_fingerprint[:12]}, which is not {facts.board} as the others found it"
        for trial in family.trials
        for facts, taken in zip(devices, (trial.latency, *trial.other_latencies), strict=False)
        if taken is not None and taken.device_fingerprint != facts.fingerprint
    ]
