"""Two measurements compare only if what latency depends on was the same on both devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge_s4op.errors import MeasurementError
from edge_s4op.messages import DeviceFacts
from edge_s4op.profiler.device import hashed_parts

__all__ = ["differences", "require_comparable"]


def differences(a: DeviceFacts, b: DeviceFacts) -> tuple[str, ...]:
    """What differs, "power mode: 15W and 25W", of what the fingerprint hashes; empty if comparable."""
    if a.fingerprint == b.fingerprint:
        return ()
    found = tuple(_differing(hashed_parts(a), hashed_parts(b)))
    return found or (
        f"fingerprint: {a.fingerprint[:12]} and {b.fingerprint[:12]}, made by different versions",
    )


def require_comparable(a: DeviceFacts, b: DeviceFacts) -> None:
    """Raises MeasurementError that names what differs."""
    if found := differences(a, b):
        raise MeasurementError(
            "the two measurements are not comparable",
            expected="the same device in the same state",
            found="; ".join(found),
            fix="measure both again on one device",
        )


def _differing(a: Mapping[str, object], b: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for name in dict.fromkeys((*a, *b)):
        one, other = a.get(name), b.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differing(one, other, f"{name} of " if name == "clocks" else "version of ")
        elif one != other:
            shown = ["none" if value is None else value for value in (one, other)]
            yield f"{prefix}{name}: {shown[0]} and {shown[1]}"
