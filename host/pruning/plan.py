"""What stays: the value that travels from the pruning rules to masks, surgery and files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import SerializerFunctionWrapHandler, model_serializer

from edge_s4op.errors import UsageError

if TYPE_CHECKING:
    from host.models.config import ModelConfig

__all__ = ["PrunePlan", "nested_plan", "plan_from_config"]

_OPTIONAL = ("features", "states")


@dataclass(frozen=True)
class PrunePlan:
    """The kept operators of every layer, as ascending channel indices in the unpruned model's numbering.

    `num_channels[i]` is how many operators layer i has when nothing is pruned. `features` are the channels
    of the residual stream that stay (None: all); an operator of another channel is pruned. `states` are the
    real states that every operator of a layer keeps (None: all it has); which ones, the model's values decide
    (host.pruning.states).

    Raises UsageError when a layer keeps nothing, repeats a channel, or names one outside
    [0, num_channels[i]); for features that are no such list, or leave out a kept operator's channel; for
    states that are odd, or not one number per layer.
    """

    num_channels: tuple[int, ...]
    kept: tuple[tuple[int, ...], ...]
    features: tuple[int, ...] | None = None
    states: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.num_channels) != len(self.kept):
            raise UsageError(
                "pruning plan: not one list of kept operators per layer",
                expected=f"{len(self.num_channels)} lists",
                found=len(self.kept),
            )
        for layer, channels in enumerate(self.kept):
            _check_channels(f"layer {layer}", "operators", channels, self.num_channels[layer])
        if self.features is not None:
            _check_features(self.features, self)
        if self.states is not None:
            _check_states(self.states, len(self.kept))

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As part of a pydantic value a plan is written as `to_json` writes it."""
        return {name: value for name, value in handler(self).items() if value is not None}

    @classmethod
    def full(cls, num_channels: Sequence[int]) -> PrunePlan:
        """The plan that prunes nothing of layers with so many operators."""
        return cls(tuple(num_channels), tuple(tuple(range(count)) for count in num_channels))

    @classmethod
    def from_json(cls, text: str) -> PrunePlan:
        """Read what `to_json` wrote. Raises UsageError."""
        try:
            value = json.loads(text)
            kept = tuple(map(_integers, value["kept"]))
            more = {name: _integers(value[name]) for name in _OPTIONAL if value.get(name) is not None}
            return cls(_integers(value["num_channels"]), kept, **more)
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"not a pruning plan: {error!r}",
                expected='{"num_channels": [H, ...], "kept": [[channel, ...], ...]}',
                found=f"{text[:60]!r}",
            ) from error

    def to_json(self) -> str:
        """`{"num_channels": [H, ...], "kept": [[channel, ...], ...]}`, and "features", "states" where set."""
        more = {name: getattr(self, name) for name in _OPTIONAL if getattr(self, name) is not None}
        return json.dumps({"num_channels": self.num_channels, "kept": self.kept, **more})

    @property
    def kept_counts(self) -> tuple[int, ...]:
        """Kept operators of each layer."""
        return tuple(len(channels) for channels in self.kept)

    @property
    def ratio(self) -> float:
        """Pruned share of all operators."""
        return 1 - sum(self.kept_counts) / sum(self.num_channels)

    def structure(self) -> tuple[int, ...]:
        """What latency depends on: how many operators each layer keeps, not which.

        Where features or states are set: the kept counts, then how many features (0: all), then the states
        of each layer (0: all).
        """
        if self.features is None and self.states is None:
            return self.kept_counts
        return (*self.kept_counts, len(self.features or ()), *(self.states or (0,) * len(self.kept)))

    def is_nested_in(self, parent: PrunePlan) -> bool:
        """Whether everything pruned in `parent` is pruned here too."""
        if self.num_channels != parent.num_channels:
            return False
        layers = zip(self.kept, parent.kept, strict=True)
        return (
            all(set(mine) <= set(theirs) for mine, theirs in layers)
            and _within(self.features, parent.features, lambda mine, theirs: set(mine) <= set(theirs))
            and _within(self.states, parent.states, _each_at_most)
        )


def nested_plan(parent: PrunePlan, pruned: Sequence[int], scores: Sequence[np.ndarray]) -> PrunePlan:
    """Keep the best-scored operators of `parent` so that layer i has `pruned[i]` of all its H_i pruned.

    scores: one array (H_i,) per layer, higher = keep; equal scores keep the lower channel. A layer whose
    parent already lost more than `pruned[i]` keeps what the parent keeps: pruned stays pruned. Features and
    states are the parent's.
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
    return replace(parent, kept=tuple(kept))


def plan_from_config(config: ModelConfig) -> PrunePlan:
    """The plan that leaves what a cut model's config says is left, in the numbering of the unpruned model."""
    names = config.original_channels()
    kept = tuple(tuple(names[channel] for channel in layer) for layer in config.kept_operators())
    width = config.full_d_model or config.d_model
    return PrunePlan((width,) * config.depth, kept, config.features, config.states)


def _best(channels: tuple[int, ...], scores: np.ndarray, size: int) -> tuple[int, ...]:
    ranked = sorted(channels, key=lambda channel: (-float(scores[channel]), channel))
    return tuple(sorted(ranked[:size]))


def _integers(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _within(
    mine: tuple[int, ...] | None,
    theirs: tuple[int, ...] | None,
    compare: Callable[[tuple[int, ...], tuple[int, ...]], bool],
) -> bool:
    """`compare`, where None is everything."""
    return theirs is None or (mine is not None and compare(mine, theirs))


def _each_at_most(mine: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
    return all(own <= other for own, other in zip(mine, theirs, strict=True))


def _check_channels(where: str, what: str, channels: tuple[int, ...], num_channels: int) -> None:
    ascending = all(low < high for low, high in itertools.pairwise(channels))
    if not channels or not ascending or channels[0] < 0 or channels[-1] >= num_channels:
        raise UsageError(
            f"pruning plan, {where}: not a list of kept {what}",
            expected=f"at least one, ascending, within [0, {num_channels})",
            found=f"{list(channels)}",
        )


def _check_features(features: tuple[int, ...], plan: PrunePlan) -> None:
    if len(set(plan.num_channels)) != 1:
        raise UsageError(
            "pruning plan: features need layers of one width",
            expected="the same number of channels in every layer",
            found=f"{list(plan.num_channels)}",
        )
    _check_channels("features", "channels", features, plan.num_channels[0])
    for layer, channels in enumerate(plan.kept):
        if not set(channels) <= set(features):
            raise UsageError(
                f"pruning plan, layer {layer}: keeps operators whose channel is not kept",
                expected=f"operators among the features {list(features)}",
                found=f"{sorted(set(channels) - set(features))}",
            )


def _check_states(states: tuple[int, ...], layers: int) -> None:
    if len(states) != layers or any(count < 2 or count % 2 for count in states):
        raise UsageError(
            "pruning plan: not the states of every layer",
            expected=f"{layers} even numbers of at least 2: states go in conjugate pairs",
            found=f"{list(states)}",
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
