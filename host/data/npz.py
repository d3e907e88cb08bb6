"""`npz:PATH`: a user's own arrays, written with `numpy.savez` or `numpy.savez_compressed`.

| key | shape, dtype | meaning |
|---|---|---|
| `x` | (n, L) or (n, L, C) float | n continuous sequences of length L with C channels; raw, not normalised |
|     | (n, L) integer | or tokens, 0 to `vocab_size` - 1 |
| `y` | (n,) integer | classes, 0 to K - 1, each with at least one row |
| `lengths` | (n,) integer | optional: row i is real up to `lengths[i]` (1 to L), padding after that |
| `x_validation`, `y_validation`, `lengths_validation` | as above | optional: your own validation split |
| `x_test`, `y_test`, `lengths_test` | as above | optional: your own test split |
| `class_labels` | (K,) strings | optional: names of the classes; "0", "1", ... if absent |
| `vocab_size` | integer | optional, tokens only: the largest token + 1 if absent |

Without `x_test` a stratified test split is held out of `x` by `npz:PATH:test_fraction=0.2,test_seed=0`
(these are the defaults), and never depends on any other seed. Without `x_validation` a validation
split is held out of what remains. Signals of one channel stored as integers must be converted to
floats first, or they are taken for tokens. What lies in the padding is ignored: it may be NaN.

    numpy.savez("mine.npz", x=x.astype("float32"), y=y, class_labels=["sit", "walk"])
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edge_s4op.errors import DataError, UsageError
from host.data.holdout import stratified_holdout
from host.data.npz_checks import Arrays, check_keys, checked_labels, checked_split, checked_vocab_size
from host.data.options import checked_options
from host.data.values import OptionValue, RawDataset, Split

__all__ = ["NpzOptions", "load_npz"]


# What zipfile and numpy raise for damaged files: RuntimeError for a flag that says "encrypted" or an
# unknown compression, KeyError for a broken table of contents.
_CORRUPT = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, RuntimeError,
)  # fmt: skip


class NpzOptions(BaseModel):
    """How a test split is held out where the file brings none."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    test_fraction: float = Field(0.2, gt=0, lt=1)
    test_seed: int = Field(0, ge=0)


def load_npz(name: str, options: Mapping[str, OptionValue]) -> RawDataset:
    """Load and check the file at path `name`. Raises DataError, naming file, key and row."""
    checked = checked_options("npz", NpzOptions, options)
    if not name:
        raise UsageError("dataset 'npz' needs a path", fix="write npz:/path/to/file.npz")
    arrays = _read(Path(name))
    check_keys(name, arrays)
    labels = checked_labels(name, arrays)
    splits = {
        f"x{suffix}": checked_split(name, arrays, suffix, len(labels))
        for suffix in ("", "_validation", "_test")
        if f"x{suffix}" in arrays
    }
    vocab_size = checked_vocab_size(name, arrays, splits)
    train, test = _with_test(splits["x"], splits.get("x_test"), checked)
    return RawDataset(train, splits.get("x_validation"), test, labels, vocab_size)


def _with_test(train: Split, test: Split | None, options: NpzOptions) -> tuple[Split, Split]:
    if test is not None:
        return train, test
    kept, held_out = stratified_holdout(train.y, options.test_fraction, options.test_seed, what="test")
    return train.take(kept), train.take(held_out)


def _read(path: Path) -> Arrays:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(f"{path}: cannot be read", expected="an npz file", found=found, fix="check the path")
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{path}: not an npz file, or a truncated one ({path.stat().st_size} bytes)",
            expected="a file written with numpy.savez",
            fix="write or copy it again",
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: _array(path, file, key) for key in file.files}
    except _CORRUPT as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: the file is corrupt: {reason}", fix="write or copy it again") from error


def _array(path: Path, file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        array = file[key]
    except ValueError as error:
        raise DataError(
            f"{path}: key {key!r} cannot be read: {error}",
            expected="an array of numbers or strings, not of Python objects",
            fix="save rows of equal length (pad them and add `lengths`)",
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: member {key!r} is not an array", fix="write the file with numpy.savez")
    return array
