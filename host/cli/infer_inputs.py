"""What `s4op infer` sends: sequences of a dataset or a file, normalised as the model file says."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_s4op.artifact import Manifest
from edge_s4op.errors import DataError, UnknownNameError, UsageError
from host.data.dataset import Dataset, Split, load_dataset
from host.workflow import normalised_for

__all__ = ["Sequence", "sequence_of_dataset", "sequence_of_file", "split_of_dataset", "split_of_file"]

_SPLITS = ("train", "validation", "test")
_NPZ_KEY = "x"  # as in a dataset of arrays


@dataclass(frozen=True)
class Sequence:
    """One sequence for a stream: x float32 (T, d_input), normalised, or int64 (T,), tokens; and its label."""

    x: np.ndarray
    label: str | None


def split_of_dataset(spec: str, split: str, manifest: Manifest) -> Split:
    """All sequences of a split. Raises UnknownNameError, UsageError, DataError."""
    data, rows = _loaded(spec, split)
    return normalised_for(manifest, rows, data.preprocessing)


def split_of_file(path: Path, manifest: Manifest) -> Split:
    """The raw sequences in `path`: (n, L), (n, L, C) or tokens. Raises UsageError, DataError."""
    if len(manifest.inputs) > 1:
        raise UsageError("this model takes sequences of several lengths", fix="use --dataset npz:PATH")
    x = _array_in(path, manifest)
    if x.ndim == 0 or len(x) == 0:
        raise DataError(f"{path}: no sequences in it", expected="(n, L), (n, L, C)", found=list(x.shape))
    tokens = x.dtype == np.int64
    return _from_raw(x[..., None] if x.ndim == 2 and not tokens else x, manifest)


def sequence_of_dataset(spec: str, split: str, row: int, manifest: Manifest) -> Sequence:
    """Sequence number `row` of a split, without padding. Raises UnknownNameError, UsageError, DataError."""
    data, rows = _loaded(spec, split)
    _check_row(row, len(rows), f"the {split} split of {spec}")
    one = normalised_for(manifest, rows.take(np.array([row])), data.preprocessing)
    length = None if one.lengths is None else int(one.lengths[0])
    return Sequence(one.x[0, :length], data.class_labels[int(one.y[0])])


def sequence_of_file(path: Path, row: int, manifest: Manifest) -> Sequence:
    """The raw sequence in `path`, or number `row` of several: (T,), (T, C), tokens; n of them in front.

    Raises UsageError when there is no such row, DataError for what is not this model's.
    """
    channels = manifest.inputs[0].shape[2:]
    x = _array_in(path, manifest)
    found = list(x.shape)
    if channels == (1,) and (x.ndim < 2 or x.shape[-1] != 1):
        x = x[..., None]
    if x.ndim == 1 + len(channels):
        x = x[None]
    if x.ndim != 2 + len(channels) or x.shape[2:] != channels or x.size == 0:
        shape = ", ".join(map(str, ("T", *channels)))
        raise DataError(
            f"{path}: the data do not fit the served model",
            expected=f"samples of shape ({shape}), or (n, {shape}) for n sequences",
            found=found,
        )
    _check_row(row, len(x), str(path))
    return Sequence(_from_raw(x[row : row + 1], manifest).x[0], None)


def _loaded(spec: str, split: str) -> tuple[Dataset, Split]:
    if split not in _SPLITS:
        raise UnknownNameError("split", split, _SPLITS)
    data = load_dataset(spec)
    rows: Split = getattr(data, split)
    return data, rows


def _check_row(row: int, rows: int, where: str) -> None:
    if row >= rows:
        raise UsageError(f"--row: {where} has no such sequence", expected=f"0 to {rows - 1}", found=row)


def _from_raw(x: np.ndarray, manifest: Manifest) -> Split:
    """Raw sequences (n, ...) as the model wants them."""
    rows = Split(x, np.zeros(len(x), np.int64), None)
    if x.dtype == np.int64:
        return normalised_for(manifest, rows, manifest.preprocessing)
    channels = x.shape[-1]
    raw = manifest.preprocessing.model_copy(update={"mean": (0.0,) * channels, "std": (1.0,) * channels})
    return normalised_for(manifest, rows, raw)


def _array_in(path: Path, manifest: Manifest) -> np.ndarray:
    """The array in a file: int64 where the model takes tokens, else float32."""
    tokens = manifest.inputs[0].datatype == "INT64"
    try:
        x = _read(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: not a readable .npy or .npz file: {error}", fix="write it with numpy.save"
        ) from error
    if x.dtype.kind not in ("iu" if tokens else "fiu"):
        expected = "whole numbers" if tokens else "numbers"
        raise DataError(f"{path}: wrong kind of data", expected=expected, found=x.dtype)
    return x.astype(np.int64 if tokens else np.float32)


def _read(path: Path) -> np.ndarray:
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded as archive:
        names = list(archive)
        name = names[0] if len(names) == 1 else _NPZ_KEY
        if name not in names:
            raise DataError(
                f"{path}: which array to send is not clear",
                expected=f"one array, or one called {_NPZ_KEY!r}",
                found=", ".join(names) or "none",
            )
        array: np.ndarray = archive[name]
        return array
