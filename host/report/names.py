"""What trials, models and devices are called, the same wherever they are shown."""

from __future__ import annotations

import re
from collections import Counter

from edge_s4op.messages import DeviceFacts
from host.family import Family, Trial
from host.pruning.schedules import UNPRUNED
from host.report import text

__all__ = ["device_names", "is_budgeted", "is_unpruned", "share_name", "stage_label", "trial_name"]

_BUDGET = re.compile(r"budget-([0-9.eE+-]+)(ms|mJ|x)")


def is_unpruned(trial: Trial) -> bool:
    """Whether this is the model the search began with; a budget may be met without pruning, too."""
    return trial.stage == UNPRUNED


def is_budgeted(stage: str) -> bool:
    """Whether the stage asked for a budget rather than a rate."""
    return stage.startswith("budget-")


def stage_label(stage: str, rate: float) -> str:
    """ "unpruned"; "30 % pruned" of "rate-0.30"; "budget 0.8 ms", "budget 0.5x" or "budget 3 mJ"."""
    if stage == UNPRUNED:
        return "unpruned"
    if found := _BUDGET.fullmatch(stage):
        value, unit = found.groups()
        return f"budget {value}{'' if unit == 'x' else ' '}{unit}"
    return f"{text.rate_name(rate)} pruned" if stage.startswith("rate-") else stage


def share_name(stage: str, rate: float) -> str:
    """The pruned share: as it was asked for, or to three digits where a budget came to it."""
    return text.rate_name(rate) if stage.startswith("rate-") else f"{100 * rate:.3g} %"


def trial_name(trial: Trial) -> str:
    """ "unpruned", "50 % pruned, seed 42" or "budget 0.8 ms, seed 7"."""
    label = stage_label(trial.stage, trial.rate)
    return label if is_unpruned(trial) or trial.seed is None else f"{label}, seed {trial.seed}"


def device_names(family: Family) -> tuple[str, ...]:
    """One name per device: its board; with its CPU, or else its fingerprint, where boards are the same."""
    devices = (family.device, *family.other_devices)
    named = Counter(device.board for device in devices)
    return tuple(device.board if named[device.board] == 1 else _longer(device, devices) for device in devices)


def _longer(device: DeviceFacts, devices: tuple[DeviceFacts, ...]) -> str:
    same = sum((other.board, other.cpu) == (device.board, device.cpu) for other in devices)
    return f"{device.board}, {device.cpu if same == 1 else device.fingerprint[:8]}"
