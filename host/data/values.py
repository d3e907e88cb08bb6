"""The values datasets are made of: splits as arrays, a dataset ready for training, one still raw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edge_s4op.artifact import Preprocessing

__all__ = ["Dataset", "Loader", "OptionValue", "RawDataset", "Split"]

OptionValue = str | int | float


@dataclass(frozen=True)
class Split:
    """n sequences of equal (padded) length L with their classes.

    x: float32 (n, L, d_input), normalised and zero where padded; or int64 (n, L), tokens
    y: int64 (n,), classes
    lengths: int64 (n,), how many positions of each row are real; None where all are
    """

    x: np.ndarray
    y: np.ndarray
    lengths: np.ndarray | None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: np.ndarray) -> Split:
        """The given rows, in the given order."""
        return Split(self.x[rows], self.y[rows], None if self.lengths is None else self.lengths[rows])


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits; `name` is the spec that `load_dataset` reads.

    Exactly one of `d_input` (channels of continuous input) and `vocab_size` (tokens) is set.
    `preprocessing` has the mean and std per channel of the training split's real positions.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    num_classes: int
    class_labels: tuple[str, ...]
    seq_len: int
    d_input: int | None
    vocab_size: int | None
    preprocessing: Preprocessing
    padded: bool


@dataclass(frozen=True)
class RawDataset:
    """What a loader returns: x as (n, L, C) floats not yet normalised, or (n, L) tokens, 0 where padded.

    `validation` is None where it is still to be held out of `train`; `vocab_size` None: continuous.
    """

    train: Split
    validation: Split | None
    test: Split
    class_labels: tuple[str, ...]
    vocab_size: int | None = None


Loader = Callable[[str, Mapping[str, OptionValue]], RawDataset]
"""`loader(name, options)`: what a spec `kind:name:key=value,...` names, as it was published."""
