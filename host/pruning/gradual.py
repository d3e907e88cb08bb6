"""Gradual masks: within a stage, operators leave a few at a time, so that the others can take over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from edge_s4op.errors import UsageError
from host.models.layer import ssm_layers
from host.pruning.plan import PrunePlan

__all__ = ["GradualMasks", "cubic_share", "gradual_masks"]


def cubic_share(step: int, settled_from: int) -> float:
    """Share of the leaving operators that is gone at `step`: 1 - (1 - t / n)^3, n = `settled_from`; then 1.

    Fast while there is much to choose from, slow towards the end. Zhu and Gupta 2017, arXiv 1710.01878,
    eq. 1, with s_i = 0, t_0 = 0 and s_t / s_f as the share.
    """
    if step >= settled_from:
        return 1.0
    return 1.0 - (1.0 - step / settled_from) ** 3


@dataclass(frozen=True)
class GradualMasks:
    """A StepHook (host.training): at step t, layer i has lost the first round(K_i share(t)) of its
    K_i leaving operators.

    `kept[i]` are the channels that stay, `leaving[i]` those that go, first to go first. The final mask stands
    from step `fraction` * total_steps on, and in any case for the last step. Each layer fades at its own
    pace, so scores need to compare within a layer only.

    Raises UsageError for a fraction outside [0, 1].
    """

    kept: tuple[tuple[int, ...], ...]
    leaving: tuple[tuple[int, ...], ...]
    fraction: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise UsageError(
                "the share of steps for gradual masks is out of range",
                expected="0 (all at once) to 1 (until the last step)",
                found=self.fraction,
            )

    def __call__(self, model: nn.Module, step: int, total_steps: int) -> None:
        layers = ssm_layers(model).values()
        if len(layers) != len(self.kept):
            raise UsageError(
                "the gradual masks do not fit the model",
                expected=f"{len(self.kept)} layers",
                found=len(layers),
            )
        for layer, channels in zip(layers, self.kept_at(step, total_steps), strict=True):
            if layer.kept_operators() != channels:
                layer.set_kept_operators(channels)

    def kept_at(self, step: int, total_steps: int) -> tuple[tuple[int, ...], ...]:
        """Channels of each layer that take part in `step`, ascending."""
        share = cubic_share(step, self.settled_from(total_steps))
        return tuple(
            tuple(sorted((*stay, *go[round(len(go) * share) :])))
            for stay, go in zip(self.kept, self.leaving, strict=True)
        )

    def settled_from(self, total_steps: int) -> int:
        return min(round(self.fraction * total_steps), total_steps - 1)

    def identity(self) -> dict[str, Any]:
        return {
            "kind": "gradual-masks",
            "kept": [list(channels) for channels in self.kept],
            "leaving": [list(channels) for channels in self.leaving],
            "fraction": self.fraction,
        }


def gradual_masks(
    parent: PrunePlan, plan: PrunePlan, scores: Sequence[np.ndarray], fraction: float = 0.5
) -> GradualMasks:
    """From `parent`'s masks to `plan`'s, worst score first (of equals the higher channel, as `nested_plan`).

    scores: one array (H_i,) per layer, higher = keep; only those of leaving operators are read. Operators
    whose channel leaves the residual stream (`plan.features`) go at once: nothing reaches them.
    Raises UsageError when the plan is not nested in its parent, or for a fraction outside [0, 1].
    """
    if not plan.is_nested_in(parent):
        raise UsageError(
            "gradual masks: the plan keeps what its parent pruned",
            expected="a plan nested in its parent",
            fix="plan from the parent with nested_plan",
        )
    leaving = tuple(
        _leaving(before, after, layer_scores, plan.features)
        for before, after, layer_scores in zip(parent.kept, plan.kept, scores, strict=True)
    )
    return GradualMasks(plan.kept, leaving, fraction)


def _leaving(
    before: tuple[int, ...], after: tuple[int, ...], scores: np.ndarray, features: tuple[int, ...] | None
) -> tuple[int, ...]:
    going = set(before) - set(after)
    if features is not None:
        going &= set(features)
    return tuple(sorted(going, key=lambda channel: (float(scores[channel]), -channel)))
