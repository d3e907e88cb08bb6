"""Which operators stay: the value that travels from the pruning rules to masks, surgery and files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_s4op.errors import UsageError

__all__ = ["PrunePlan", "nested_plan"]


@dataclass(frozen=True)
class PrunePlan:
    """The kept operators of every layer, as ascending channel indices in the unpruned model's numbering.

    `num_channels[i]` is how many operators layer i has when nothing is pruned. Raises UsageError when a
    layer keeps nothing, repeats a channel, or names one outside [0, num_channels[i]).
    """

    num_channels: tuple[int, ...]
    kept: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.num_channels) != len(self.kept):
            raise UsageError(
                "pruning plan: not one list of kept operators per layer",
                expected=f"{len(self.num_channels)} lists",
                found=len(self.kept),
            )
        for layer, channels in enumerate(self.kept):
            _check_layer(layer, channels, self.num_channels[layer])

    @classmethod
    def full(cls, num_channels: Sequence[int]) -> PrunePlan:
        """The plan that prunes nothing of layers with so many operators."""
        return cls(tuple(num_channels), tuple(tuple(range(count)) for count in num_channels))

    @classmethod
    def from_json(cls, text: str) -> PrunePlan:
        """Read what `to_json` wrote. Raises UsageError."""
        try:
            value = json.loads(text)
            kept = tuple(tuple(int(channel) for channel in layer) for layer in value["kept"])
            return cls(tuple(int(count) for count in value["num_channels"]), kept)
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"not a pruning plan: {error!r}",
                expected='{"num_channels": [H, ...], "kept": [[channel, ...], ...]}',
                found=f"{text[:60]!r}",
            ) from error

    def to_json(self) -> str:
        """`{"num_channels": [H, ...], "kept": [[channel, ...], ...]}`."""
        return json.dumps({"num_channels": self.num_channels, "kept": self.kept})

    @property
    def kept_counts(self) -> tuple[int, ...]:
        """Kept operators of each layer."""
        return tuple(len(channels) for channels in self.kept)

    @property
    def ratio(self) -> float:
        """Pruned share of all operators."""
        return 1 - sum(self.kept_counts) / sum(self.num_channels)

    def structure(self) -> tuple[int, ...]:
        """What latency depends on: how many operators each layer keeps, not which."""
        return self.kept_counts

    def is_nested_in(self, parent: PrunePlan) -> bool:
        """Whether everything pruned in `parent` is pruned here too."""
        return self.num_channels == parent.num_channels and all(
            set(mine) <= set(theirs) for mine, theirs in zip(self.kept, parent.kept, strict=True)
        )


def nested_plan(parent: PrunePlan, pruned: Sequence[int], scores: Sequence[np.ndarray]) -> PrunePlan:
    """Keep the best-scored operators of `parent` so that layer i has `pruned[i]` of all its H_i pruned.

    scores: one array (H_i,) per layer, higher = keep; equal scores keep the lower channel. A layer whose
    parent already lost more than `pruned[i]` keeps what the parent keeps: pruned stays pruned.
    Raises UsageError when an allocator's counts or a criterion's scores do not fit the plan.
    """
    _check_counts(parent, pruned)
    _check_scores(parent, scores)
    kept = []
    for channels, total, count, layer_scores in zip(
        parent.kept, parent.num_channels, pruned, scores, strict=True
    ):
        size = min(len(channels), total - count)
        kept.append(_best(channels, layer_scores, size))
    return PrunePlan(parent.num_channels, tuple(kept))


def _best(channels: tuple[int, ...], scores: np.ndarray, size: int) -> tuple[int, ...]:
    ranked = sorted(channels, key=lambda channel: (-float(scores[channel]), channel))
    return tuple(sorted(ranked[:size]))


def _check_layer(layer: int, channels: tuple[int, ...], num_channels: int) -> None:
    ascending = all(low < high for low, high in itertools.pairwise(channels))
    if not channels or not ascending or channels[0] < 0 or channels[-1] >= num_channels:
        raise UsageError(
            f"pruning plan, layer {layer}: not a list of kept operators",
            expected=f"at least one, ascending, within [0, {num_channels})",
            found=f"{list(channels)}",
        )


def _check_counts(parent: PrunePlan, pruned: Sequence[int]) -> None:
    limits = [total - 1 for total in parent.num_channels]
    if len(pruned) != len(limits) or not all(
        0 <= count <= limit for count, limit in zip(pruned, limits, strict=True)
    ):
        raise UsageError(
            "the allocator's counts do not fit the model",
            expected=f"{len(limits)} counts of at most {limits}",
            found=f"{list(pruned)}",
        )


def _check_scores(parent: PrunePlan, scores: Sequence[np.ndarray]) -> None:
    expected = [(total,) for total in parent.num_channels]
    found = [np.shape(layer) for layer in scores]
    if found != expected or not all(np.isfinite(layer).all() for layer in scores):
        raise UsageError(
            "the criterion's scores do not fit the model",
            expected=f"arrays of shapes {expected}, all finite",
            found=f"shapes {found}" if found != expected else "NaN or infinity",
        )
