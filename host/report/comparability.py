"""Which latencies of a family do not compare with one another, and why."""

from __future__ import annotations

import itertools

from edge_s4op.messages import DeviceFacts
from host.family import Family
from host.report.names import device_names, trial_name

__all__ = ["device_differences", "differences", "strangers"]

_NOT_LATENCY = {"fingerprint", "power_source", "default_backend", "backends"}


def device_differences(family: Family) -> list[str]:
    """One line per pair of devices: that their latencies do not compare, and in what they differ."""
    named = zip(device_names(family), (family.device, *family.other_devices), strict=True)
    lines = []
    for (first, one), (second, other) in itertools.combinations(named, 2):
        if one.fingerprint != other.fingerprint:
            why = "; ".join(differences(one, other)) or "their fingerprints differ"
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


def differences(one: DeviceFacts, other: DeviceFacts) -> list[str]:
    """In what two devices differ, of all that a latency depends on: "governor performance and schedutil"."""
    first, second = _flat(one), _flat(other)
    names = dict.fromkeys([*first, *second])
    pairs = ((name, first.get(name), second.get(name)) for name in names)
    return [f"{name} {_shown(a)} and {_shown(b)}" for name, a, b in pairs if a != b]


def _flat(facts: DeviceFacts) -> dict[str, object]:
    values = facts.model_dump(exclude=_NOT_LATENCY)
    nested = {name: values.pop(name) for name in ("clocks", "versions")}
    parts = {f"{key} {what}": value for what, part in nested.items() for key, value in part.items()}
    return values | parts


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)
