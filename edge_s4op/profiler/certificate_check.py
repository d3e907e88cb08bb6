"""One check of a certificate, and the two ways to make one: by one value, and by several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "Outcome", "all_equal", "equal"]

Outcome = Literal["ok", "failed", "not checked"]

_RELATIVE = 1e-9  # a mean depends on the order of adding, which differs between processors


@dataclass(frozen=True)
class Check:
    """One thing looked at, how that went, and in words what was found."""

    name: str
    outcome: Outcome
    what: str


def equal(name: str, what: str, stated: object, found: object) -> Check:
    """One check of one value that is equal to what was found."""
    if stated == found:
        return Check(name, "ok", what)
    return Check(name, "failed", f"{what}: stated {_short(stated)}, found {_short(found)}")


def _short(value: object) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)


def all_equal(name: str, what: str, pairs: dict[str, tuple[object, object]]) -> Check:
    """One check of several values that are equal, floats but for rounding."""
    differing = {key: pair for key, pair in pairs.items() if not _same(*pair)}
    wrong = [f"{key} is {stated}, not {found}" for key, (stated, found) in differing.items()]
    return Check(name, "failed", f"{what}: {'; '.join(wrong)}") if wrong else Check(name, "ok", what)


def _same(stated: object, found: object) -> bool:
    if isinstance(stated, float) and isinstance(found, float):
        return math.isclose(stated, found, rel_tol=_RELATIVE)
    return stated == found
