"""How much each operator matters. A criterion scores every operator of a model; higher = keep.

A criterion gets the model it may run but must leave as it found it, calibration batches of the training
split (read lazily: a criterion that ignores them pays nothing), and a generator seeded by the candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from host.pruning.registry import Registry

if TYPE_CHECKING:
    from host.data.batches import Batch
    from host.models.classifier import Classifier

__all__ = ["CRITERIA", "Criterion", "candidate_generator", "random"]

Criterion = Callable[["Classifier", Iterable["Batch"], np.random.Generator], list[np.ndarray]]

CRITERIA: Registry[Criterion] = Registry("criterion")


@CRITERIA.register("random")
def random(model: Classifier, batches: Iterable[Batch], generator: np.random.Generator) -> list[np.ndarray]:
    """Every operator scores uniformly at random, so each subset of a given size is equally likely.

    Returns one float64 array (H,) per layer. S4oP, arXiv 2606.18096.
    """
    return [generator.random(model.config.d_model) for _ in model.blocks]


def candidate_generator(seed: int, rate: float) -> np.random.Generator:
    """The randomness of one candidate: a function of its seed and rate, not of what ran before it."""
    return np.random.default_rng([seed, round(rate * 1_000_000)])
