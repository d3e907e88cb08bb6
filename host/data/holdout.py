"""Holding rows out of a split: stratified by class and seeded."""

from __future__ import annotations

import numpy as np

from edge_s4op.errors import DataError, UsageError

__all__ = ["stratified_holdout"]


def stratified_holdout(
    y: np.ndarray, fraction: float, seed: int, *, what: str = "validation"
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to keep and rows to hold out, both ascending: about `fraction` of every class.

    A class of two rows or more gives at least one row and keeps at least one; a class of a single
    row keeps it. Raises UsageError for a bad fraction or seed, DataError when nothing can be held out.
    """
    if not 0 < fraction < 1:
        raise UsageError(
            f"the {what} fraction is out of range", expected="a number within (0, 1)", found=fraction
        )
    if seed < 0:
        raise UsageError(f"the {what} seed is negative", expected="an integer from 0", found=seed)
    rng = np.random.default_rng(seed)
    held = [_drawn(np.flatnonzero(y == label), fraction, rng) for label in np.unique(y)]
    held_out = np.sort(np.concatenate([*held, np.empty(0, dtype=np.int64)]))
    if held_out.size == 0:
        raise DataError(
            f"no {what} split can be held out of {len(y)} training row(s)",
            expected="a class with at least two rows",
            fix=f"add rows, or give the {what} split yourself (npz)",
        )
    return np.setdiff1d(np.arange(len(y)), held_out), held_out


def _drawn(rows: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    if len(rows) < 2:
        return rows[:0]
    count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
    return rng.permutation(rows)[:count]
