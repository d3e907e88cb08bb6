"""The power mode of a Jetson, as nvpmodel names it."""

from __future__ import annotations

import re
from pathlib import Path

from edge_s4op.profiler.telemetry.sensors import text_of

__all__ = ["power_mode"]

_MODE = re.compile(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", re.MULTILINE)
_DEFAULT = re.compile(r"^<\s*PM_CONFIG\s+DEFAULT=(\d+)\s*>", re.MULTILINE)
_CHOSEN = re.compile(r"pmode:(\d+)")


def power_mode(root: Path) -> str | None:
    """ "15W", "MAXN": the mode last chosen, else the configured default; its number if it has no name."""
    config = text_of(root / "etc/nvpmodel.conf")
    chosen = _CHOSEN.search(text_of(root / "var/lib/nvpmodel/status")) or _DEFAULT.search(config)
    if chosen is None:
        return None
    number = int(chosen.group(1))
    names: dict[int, str] = {int(mode): name for mode, name in _MODE.findall(config)}
    return names.get(number, f"mode {number}")
