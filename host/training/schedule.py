"""The learning rate as a function of the step alone, so that there is no state to save or to lose."""

from __future__ import annotations

import math

__all__ = ["learning_rate_factor", "warmup_steps"]


def warmup_steps(total_steps: int, warmup_fraction: float) -> int:
    """Steps of linear rise: the fraction of all steps, rounded."""
    return round(warmup_fraction * total_steps)


def learning_rate_factor(step: int, total_steps: int, warmup: int) -> float:
    """Share of the peak rate at `step` = 0 ... total_steps - 1.

    (step + 1) / warmup while step < warmup, then (1 + cos(pi (step - warmup) / (total_steps - warmup))) / 2:
    one at the end of the rise and at the start of the fall, above zero to the last step.
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (total_steps - warmup)))
