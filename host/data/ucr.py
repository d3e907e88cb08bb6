"""`ucr:NAME`: the UCR and UEA archives of time series classification, read through aeon.

The archives' own train and test splits are kept. Sets that ship inside aeon load offline; others are
downloaded by aeon where a network exists. `ucr:NAME:folder=PATH` reads PATH/NAME/NAME_TRAIN.ts and
NAME_TEST.ts instead, which also serves machines without a network. Series of unequal length are
padded behind their end. The archives: arXiv 1810.07758 (UCR) and arXiv 1811.00075 (UEA).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from edge_s4op.errors import DataError, UnknownNameError
from host.data.options import checked_options
from host.data.values import OptionValue, RawDataset, Split

__all__ = ["UcrOptions", "load_ucr"]

Series = Sequence[np.ndarray] | np.ndarray  # n cases of shape (C, L_i)


class UcrOptions(BaseModel):
    """`folder`: where NAME/NAME_TRAIN.ts and NAME/NAME_TEST.ts lie; empty: aeon's own places."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    folder: str = ""


def load_ucr(name: str, options: Mapping[str, OptionValue]) -> RawDataset:
    """Load one set of the archives, float64 (n, L, C). Raises UnknownNameError and DataError."""
    folder = checked_options("ucr", UcrOptions, options).folder
    if not _is_in(folder, name):
        _check_name(name)
    (x_train, y_train), (x_test, y_test) = (_read(name, split, folder) for split in ("train", "test"))
    _check_channels(name, x_train, x_test)
    labels = _class_labels(name, y_train, y_test)
    lengths = {case.shape[1] for case in (*x_train, *x_test)}
    train, test = (
        _split(f"ucr:{name}, {part} split", x, [labels.index(label) for label in y], lengths)
        for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test))
    )
    return RawDataset(train, None, test, labels)


def _is_in(folder: str, name: str) -> bool:
    return bool(folder and name) and (Path(folder) / name / f"{name}_TRAIN.ts").is_file()


def _check_name(name: str) -> None:
    known = _aeon().tsc_datasets.tsc_zenodo
    if name not in known:
        raise UnknownNameError("UCR/UEA dataset", name, known)


def _aeon() -> Any:
    try:
        import aeon.datasets.tsc_datasets  # slow (numba): only when such a dataset is asked for
    except ImportError as error:
        raise DataError(
            f"UCR/UEA datasets are read through aeon, which cannot be imported: {error}",
            fix="install the extra: pip install 'edge-s4op[host]'",
        ) from error
    return aeon.datasets


def _read(name: str, split: str, folder: str) -> tuple[Series, np.ndarray]:
    try:
        x, y = _aeon().load_classification(
            name, split=split, extract_path=folder or None, load_equal_length=False, load_no_missing=False
        )
    except (ValueError, OSError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"ucr:{name}: the {split} split can neither be read nor downloaded: {reason}",
            fix="try again with a network, or put "
            f"{name}_TRAIN.ts and {name}_TEST.ts into FOLDER/{name} and use ucr:{name}:folder=FOLDER",
        ) from error
    if len(x) == 0 or x[0].size == 0:
        raise DataError(f"ucr:{name}: the {split} split is empty", fix="download the files again")
    return x, np.asarray(y)


def _check_channels(name: str, x_train: Series, x_test: Series) -> None:
    if x_train[0].shape[0] != x_test[0].shape[0]:
        raise DataError(
            f"ucr:{name}: the splits have different numbers of channels",
            expected=f"{x_train[0].shape[0]}, as in the train split",
            found=x_test[0].shape[0],
            fix="the files do not belong together: download both again",
        )


def _class_labels(name: str, y_train: np.ndarray, y_test: np.ndarray) -> tuple[str, ...]:
    labels = tuple(sorted(set(y_train.tolist()), key=_label_order))
    if unseen := sorted(set(y_test.tolist()) - set(labels)):
        raise DataError(
            f"ucr:{name}: class {unseen[0]!r} of the test split has no training row",
            expected=f"classes {', '.join(labels)}",
            fix="the files do not belong together: download both again",
        )
    return labels


def _label_order(label: str) -> tuple[float, str]:
    try:
        return float(label), label  # "2" before "10"
    except ValueError:
        return np.inf, label


def _split(where: str, x: Series, y: list[int], all_lengths: set[int]) -> Split:
    padded = np.zeros((len(x), max(all_lengths), x[0].shape[0]))  # (n, L, C)
    for row, case in enumerate(x):
        _check_finite(where, row, case)
        padded[row, : case.shape[1]] = case.T
    lengths = np.array([case.shape[1] for case in x], dtype=np.int64)
    return Split(padded, np.array(y, dtype=np.int64), lengths if len(all_lengths) > 1 else None)


def _check_finite(where: str, row: int, case: np.ndarray) -> None:
    missing = np.argwhere(~np.isfinite(case))
    if missing.size:
        channel, position = missing[0].tolist()
        raise DataError(
            f"{where}: missing value in row {row}, channel {channel}, position {position}",
            expected="finite numbers everywhere",
            found=case[channel, position],
            fix="impute the series and load them as npz:PATH",
        )
