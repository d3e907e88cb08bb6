"""How much each operator matters. A criterion scores every operator of a model; higher = keep.

A criterion gets a model with SSM layers, which it may run but must leave as it found it, training data (None
where there is none; read lazily, so that a criterion that ignores it pays nothing), and a generator seeded
by the candidate. It returns one float64 array (H,) per layer, in the order of `ssm_layers`; the scores of
operators that are pruned already are never read.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from host.models.layer import ssm_layers
from host.pruning.calibration import Calibration
from host.pruning.registry import Registry

__all__ = ["CRITERIA", "Criterion", "candidate_generator", "random"]

Criterion = Callable[[nn.Module, Calibration | None, np.random.Generator], list[np.ndarray]]

CRITERIA: Registry[Criterion] = Registry("criterion")


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
