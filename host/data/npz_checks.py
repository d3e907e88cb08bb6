"""What must hold for the arrays of an npz file; each breach is a DataError naming file, key and row."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from edge_s4op.errors import DataError
from host.data.normalise import zero_padding
from host.data.values import Split

__all__ = ["Arrays", "check_keys", "checked_labels", "checked_split", "checked_vocab_size", "is_integer"]

Arrays = dict[str, np.ndarray]

_SUFFIXES = ("", "_validation", "_test")
_KEYS = (
    *(part + suffix for suffix in _SUFFIXES for part in ("x", "y", "lengths")),
    "class_labels",
    "vocab_size",
)
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def check_keys(where: str, arrays: Arrays) -> None:
    """x and y are there, for every split that is begun; lengths with all splits or none; nothing else."""
    if unknown := sorted(set(arrays) - set(_KEYS)):
        _raise_key(where, f"key {unknown[0]!r} is not known", arrays, "rename or remove it")
    padded = any(key.startswith("lengths") for key in arrays)
    for suffix in _SUFFIXES:
        keys = [part + suffix for part in ("x", "y", "lengths")]
        if suffix and not set(keys) & set(arrays):
            continue
        for key in keys if padded else keys[:2]:
            if key not in arrays:
                _raise_key(where, f"key {key!r} is missing", arrays, f"save it: numpy.savez(..., {key}=...)")


def _raise_key(where: str, what: str, arrays: Arrays, fix: str) -> NoReturn:
    raise DataError(
        f"{where}: {what}",
        expected=f"keys x and y, optionally {', '.join(_KEYS[2:])}; lengths for all splits or for none",
        found=", ".join(sorted(arrays)) or "no keys",
        fix=fix,
    )


def checked_labels(where: str, arrays: Arrays) -> tuple[str, ...]:
    """The class labels, given or "0", "1", ...; every class has a training row."""
    y = _checked_integers(where, "y", arrays["y"])
    present = np.unique(y)
    labels = tuple(map(str, arrays.get("class_labels", present).ravel().tolist()))
    if arrays.get("class_labels", y).dtype.kind not in "Uiu":
        raise DataError(f"{where}: key 'class_labels' does not hold strings", expected="strings (K,)")
    if len(set(labels)) < max(len(labels), 2):
        raise DataError(
            f"{where}: too few classes, or two of the same name",
            expected="at least two different ones",
            found=", ".join(labels) or "none",
            fix="correct 'y', or 'class_labels' where given",
        )
    if "class_labels" in arrays:
        _check_range(where, "y", y, 0, len(labels) - 1)
    expected = np.arange(len(labels))
    if empty := np.setdiff1d(expected, present).tolist():
        name = labels[empty[0]] if "class_labels" in arrays else str(empty[0])
        _raise_empty(where, name, f"the {len(labels)} classes")
    return labels


def checked_split(where: str, arrays: Arrays, suffix: str, num_classes: int) -> Split:
    """The split whose keys end in `suffix`, zero where padded.

    x becomes float (n, L, C), or int64 (n, L) where `x` holds integers: tokens.
    """
    x_key, y_key, lengths_key = f"x{suffix}", f"y{suffix}", f"lengths{suffix}"
    x = _checked_x(where, x_key, arrays[x_key], like=arrays["x"])
    y = _checked_integers(where, y_key, arrays[y_key], high=num_classes - 1)
    _check_rows(where, x_key, x, y_key, y)
    lengths = None
    if lengths_key in arrays:
        lengths = _checked_integers(where, lengths_key, arrays[lengths_key], low=1, high=x.shape[1])
        _check_rows(where, x_key, x, lengths_key, lengths)
    split = zero_padding(Split(x, y, lengths))
    if is_integer(x):
        _check_range(where, x_key, split.x, 0, None)
    else:
        _check_finite(where, x_key, split.x)
    return split


def checked_vocab_size(where: str, arrays: Arrays, splits: dict[str, Split]) -> int | None:
    """Size of the vocabulary where x holds tokens (`splits` by key of x), None where it is continuous."""
    tokens = is_integer(arrays["x"])
    if "vocab_size" not in arrays:
        return 1 + max(int(split.x.max()) for split in splits.values()) if tokens else None
    given = arrays["vocab_size"]
    if not tokens or given.size != 1 or not is_integer(given) or int(given.item()) < 1:
        raise DataError(
            f"{where}: key 'vocab_size' does not fit",
            expected="one positive integer, and integer tokens in 'x'",
            found=f"{given.dtype} {list(given.shape)}, and 'x' of {arrays['x'].dtype}",
            fix="remove it, or save the tokens as integers",
        )
    for key, split in splits.items():
        _check_range(where, key, split.x, 0, int(given.item()) - 1)
    return int(given.item())


def is_integer(array: np.ndarray) -> bool:
    """Whether the dtype is a signed or unsigned integer (a boolean is not)."""
    return array.dtype.kind in "iu"


def _checked_x(where: str, key: str, x: np.ndarray, like: np.ndarray) -> np.ndarray:
    """x as int64 (n, L) or float (n, L, C), of the kind and shape of `like`, the training split's."""
    ranks = (2,) if is_integer(x) else (2, 3) if x.dtype.kind == "f" else ()
    if x.ndim not in ranks or x.size == 0:
        raise DataError(
            f"{where}: key {key!r} has the wrong rank or dtype",
            expected="float (n, L) or (n, L, C), or integer tokens (n, L), none of them 0",
            found=f"{x.dtype} {list(x.shape)}",
            fix="save signals as float32, samples first, channels last",
        )
    if is_integer(x) != is_integer(like) or x.shape[1:] != like.shape[1:]:
        raise DataError(
            f"{where}: key {key!r} does not match 'x'",
            expected=f"{like.dtype} {['n', *like.shape[1:]]}",
            found=f"{x.dtype} {list(x.shape)}",
            fix="pad all splits to one length and give `lengths`",
        )
    if is_integer(x):
        return x.astype(np.int64)
    return x[:, :, None] if x.ndim == 2 else x


def _checked_integers(
    where: str, key: str, array: np.ndarray, low: int = 0, high: int | None = None
) -> np.ndarray:
    """`array` as int64 (n,). Raises DataError for another rank, a fraction, or a value out of range."""
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise DataError(
            f"{where}: key {key!r} has the wrong rank or dtype",
            expected="integers (n,)",
            found=f"{array.dtype} {list(array.shape)}",
            fix="save one integer per row",
        )
    fractional = (array != np.round(array)) | np.isinf(array)  # a NaN differs from itself
    _raise_first(where, key, array, fractional, "is not an integer", "integers")
    _check_range(where, key, array, low, high)
    return array.astype(np.int64)


def _check_range(where: str, key: str, array: np.ndarray, low: int, high: int | None) -> None:
    allowed = f"{low} to {high}" if high is not None else f"{low} or more"
    _raise_first(where, key, array, array < low, "is out of range", allowed)
    if high is not None:
        _raise_first(where, key, array, array > high, "is out of range", allowed)


def _check_finite(where: str, key: str, x: np.ndarray) -> None:
    bad = ~(np.abs(x) <= _FLOAT32_MAX)  # a NaN compares false
    _raise_first(where, key, x, bad, "is not a finite float32", "finite numbers, or NaN in the padding only")


def _raise_first(where: str, key: str, array: np.ndarray, bad: np.ndarray, what: str, expected: str) -> None:
    if bad.any():
        row, *rest = np.argwhere(bad)[0].tolist()
        place = (
            f"row {row}"
            + (f", position {rest[0]}" if rest else "")
            + (f", channel {rest[1]}" if len(rest) > 1 else "")
        )
        raise DataError(
            f"{where}: key {key!r}, {place}: the value {what}",
            expected=expected,
            found=array[(row, *rest)],
            fix=f"{int(bad.sum())} such value(s): correct them or leave these rows out",
        )


def _check_rows(where: str, x_key: str, x: np.ndarray, key: str, array: np.ndarray) -> None:
    if len(x) != len(array):
        raise DataError(
            f"{where}: keys {x_key!r} and {key!r} have different numbers of rows",
            expected=f"{len(x)} in {key!r}, as in {x_key!r}",
            found=len(array),
            fix="save both from the same rows",
        )


def _raise_empty(where: str, label: str, among: str) -> NoReturn:
    raise DataError(
        f"{where}: key 'y': class {label!r} has no training row",
        expected=f"at least one row for each of {among}",
        fix="number the classes from 0 without gaps, or add rows",
    )
