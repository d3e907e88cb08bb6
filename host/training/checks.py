"""Does this data fit this model? Asked before the first step, answered in one line."""

from __future__ import annotations

import numpy as np

from edge_s4op.errors import DataError
from host.data.dataset import Dataset, Split
from host.models.config import ModelConfig

__all__ = ["check_dataset", "check_split", "steps_per_epoch"]


def check_dataset(config: ModelConfig, dataset: Dataset) -> None:
    """Raise DataError unless `dataset`'s training and validation splits can train a `config` model."""
    if (dataset.vocab_size is None) != (config.vocab_size is None):
        raise _misfit(dataset, "kind of input", _input_of(config), _input_of(dataset))
    for name, what in (
        ("d_input", "input channels"),
        ("vocab_size", "vocabulary size"),
        ("num_classes", "number of classes"),
        ("seq_len", "sequence length"),
        ("padded", "padding"),
    ):
        expected, found = getattr(config, name), getattr(dataset, name)
        if expected != found:
            raise _misfit(dataset, what, expected, found)
    check_split(config, dataset.train, f"dataset {dataset.name}, training split")
    check_split(config, dataset.validation, f"dataset {dataset.name}, validation split")


def check_split(config: ModelConfig, split: Split, where: str) -> None:
    """Raise DataError unless every batch of `split` is an input of a `config` model."""
    if len(split) == 0:
        raise DataError(f"{where} is empty", fix="use more data or another validation fraction")
    tokens = config.vocab_size is not None
    shape = (config.seq_len,) if tokens else (config.seq_len, config.d_input)
    if split.x.shape[1:] != shape or np.issubdtype(split.x.dtype, np.integer) != tokens:
        raise DataError(
            f"{where} does not fit the model",
            expected=f"{'int64' if tokens else 'float32'} samples of shape {shape}",
            found=f"{split.x.dtype} of shape {split.x.shape[1:]}",
            fix="build the model from this dataset's sizes, or load the dataset it was built for",
        )
    if config.padded != (split.lengths is not None):
        raise DataError(
            f"{where} does not fit the model: padding",
            expected="lengths (the model is padded)" if config.padded else "no lengths",
            found="none" if config.padded else "lengths",
            fix="build the model with the dataset's `padded`",
        )
    _check_range(split.y, config.num_classes, f"{where}: a label")
    if tokens:
        _check_range(split.x, int(config.vocab_size or 0), f"{where}: a token")


def steps_per_epoch(config: ModelConfig, samples: int, batch_size: int) -> int:
    """Batches of one epoch, not counting one that batch norm cannot use (see `loop._usable`).

    Raises DataError when batch norm would see nothing but single samples.
    """
    if config.norm == "batch" and min(samples, batch_size) == 1:
        raise DataError(
            "batch norm cannot be trained on batches of one sample",
            found=f"{samples} training samples in batches of {batch_size}",
            fix="raise batch_size (and the number of samples), or use norm='layer'",
        )
    full, rest = divmod(samples, batch_size)
    return full + (1 if rest > (1 if config.norm == "batch" else 0) else 0)


def _check_range(values: np.ndarray, size: int, what: str) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= size:
        raise DataError(f"{what} is out of range", expected=f"0 to {size - 1}", found=f"{low} to {high}")


def _input_of(sizes: ModelConfig | Dataset) -> str:
    return "continuous samples" if sizes.vocab_size is None else "tokens"


def _misfit(dataset: Dataset, what: str, expected: object, found: object) -> DataError:
    return DataError(
        f"dataset {dataset.name} does not fit the model: {what}",
        expected=expected,
        found=found,
        fix="build the model from this dataset's sizes, or load the dataset it was built for",
    )
