"""Normalising continuous input with statistics of the training split alone."""

from __future__ import annotations

import numpy as np

from edge_s4op.artifact import Preprocessing
from host.data.values import Split

__all__ = ["normalised", "statistics_of", "zero_padding"]

_CONSTANT = 1e-7  # a std this small beside the channel's magnitude is rounding, not signal


def statistics_of(train: Split) -> Preprocessing:
    """Mean and std per channel over the real positions of `train`; a constant channel has std 1."""
    real = train.x[_real(train)].astype(np.float64)  # (positions, C)
    mean, std = real.mean(axis=0), real.std(axis=0)
    std = np.where(std <= _CONSTANT * np.abs(real).max(axis=0), 1.0, std)
    return Preprocessing(mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def normalised(split: Split, preprocessing: Preprocessing) -> Split:
    """(x - mean) / std as float32 (n, L, C), zero in the padding."""
    x = (split.x - np.asarray(preprocessing.mean)) / np.asarray(preprocessing.std)
    return zero_padding(Split(x.astype(np.float32), split.y, split.lengths))


def zero_padding(split: Split) -> Split:
    """The same split with zeros (of x's dtype) at every position from the row's length on."""
    if split.lengths is None:
        return split
    x = split.x.copy()
    x[~_real(split)] = 0
    return Split(x, split.y, split.lengths)


def _real(split: Split) -> np.ndarray:
    seq_len = split.x.shape[1]
    if split.lengths is None:
        return np.ones((len(split), seq_len), dtype=bool)
    return np.arange(seq_len) < split.lengths[:, None]  # (n, L)
