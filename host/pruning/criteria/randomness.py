"""The published criterion: none."""

from __future__ import annotations

import numpy as np
from torch import nn

from host.models.layer import ssm_layers
from host.pruning.calibration import Calibration
from host.pruning.criteria.contract import CRITERIA

__all__ = ["candidate_generator", "random"]


@CRITERIA.register("random")
def random(
    model: nn.Module, calibration: Calibration | None, generator: np.random.Generator
) -> list[np.ndarray]:
    """Every operator scores uniformly at random, so each subset of a given size is equally likely.

    Returns one float64 array (H,) per layer. S4oP, arXiv 2606.18096.
    """
    return [generator.random(layer.num_channels) for layer in ssm_layers(model).values()]


def candidate_generator(seed: int, rate: float) -> np.random.Generator:
    """The randomness of one candidate: a function of its seed and rate, not of what ran before it."""
    return np.random.default_rng([seed, round(rate * 1_000_000)])
