"""The shapes a budget may choose from: how many channels the residual stream has, how many states a layer."""

from __future__ import annotations

from dataclasses import dataclass

from host.models.classifier import Classifier
from host.search.options import PruneOptions

__all__ = ["Shape", "shapes_within"]

WIDTHS = (1.0, 0.75, 0.5, 0.375, 0.25)
STATES = (1.0, 0.5, 0.25, 0.125)
_MULTIPLE = 4  # of channels: what is left over by vector units costs as much as if it were there


@dataclass(frozen=True)
class Shape:
    """`width` channels of the residual stream, `states` real states per operator of each layer."""

    width: int
    states: tuple[int, ...]


def shapes_within(model: Classifier, options: PruneOptions) -> list[Shape]:
    """The shapes that are left of `model`, the whole one first; one only unless features or states may go."""
    width, states = len(model.kept_features()), model.states()
    widths = _steps(width, WIDTHS, _MULTIPLE) if options.features else [width]
    shares = STATES if options.states else (1.0,)
    per_layer = list(dict.fromkeys(tuple(_even(share * count) for count in states) for share in shares))
    return [Shape(each, layer_states) for each in widths for layer_states in per_layer]


def _steps(whole: int, shares: tuple[float, ...], multiple: int) -> list[int]:
    rounded = (max(multiple, round(share * whole / multiple) * multiple) for share in shares[1:])
    return [whole, *(count for count in dict.fromkeys(rounded) if count < whole)]


def _even(states: float) -> int:
    return max(2, 2 * round(states / 2))
