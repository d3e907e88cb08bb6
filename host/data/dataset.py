"""`load_dataset`: from a spec such as `ucr:GunPoint` to normalised train, validation and test splits.

A new kind of dataset is one function that returns a RawDataset, and one line in LOADERS.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edge_s4op.artifact import Preprocessing
from edge_s4op.errors import UnknownNameError
from host.data.holdout import stratified_holdout
from host.data.listops import load_listops
from host.data.normalise import normalised, statistics_of
from host.data.npz import load_npz
from host.data.options import parse_spec
from host.data.ucr import load_ucr
from host.data.values import Dataset, Loader, OptionValue, RawDataset, Split

__all__ = ["LOADERS", "Dataset", "Split", "load_dataset"]

LOADERS: dict[str, Loader] = {
    "listops": load_listops,
    "npz": load_npz,
    "ucr": load_ucr,
}


def load_dataset(
    spec: str,
    *,
    validation_fraction: float = 0.2,
    seed: int = 0,
    options: Mapping[str, OptionValue] = MappingProxyType({}),
) -> Dataset:
    """Load `ucr:NAME`, `listops[:KEY=VALUE,...]` or `npz:PATH`; `options` adds to the spec's own.

    Where the data bring no validation split, `validation_fraction` of every class is held out of the
    training split with `seed`; `seed` changes nothing else, least of all the test split. Continuous
    input is normalised with the mean and std of what is left for training.

    Raises UnknownNameError, UsageError (options) and DataError (data missing or malformed).
    """
    parsed = parse_spec(spec, options)
    if parsed.kind not in LOADERS:
        raise UnknownNameError("dataset", parsed.kind, LOADERS)
    raw = LOADERS[parsed.kind](parsed.name, parsed.options)
    train, validation = _with_validation(raw, validation_fraction, seed)
    return _prepared(str(parsed), raw, train, validation)


def _with_validation(raw: RawDataset, fraction: float, seed: int) -> tuple[Split, Split]:
    if raw.validation is not None:
        return raw.train, raw.validation
    kept, held_out = stratified_holdout(raw.train.y, fraction, seed)
    return raw.train.take(kept), raw.train.take(held_out)


def _prepared(name: str, raw: RawDataset, train: Split, validation: Split) -> Dataset:
    tokens = raw.vocab_size is not None
    preprocessing = Preprocessing() if tokens else statistics_of(train)
    train, validation, test = (
        _as_tokens(split) if tokens else normalised(split, preprocessing)
        for split in (train, validation, raw.test)
    )
    return Dataset(
        name=name,
        train=train,
        validation=validation,
        test=test,
        num_classes=len(raw.class_labels),
        class_labels=raw.class_labels,
        seq_len=train.x.shape[1],
        d_input=None if tokens else train.x.shape[2],
        vocab_size=raw.vocab_size,
        preprocessing=preprocessing,
        padded=train.lengths is not None,
    )


def _as_tokens(split: Split) -> Split:
    return Split(split.x.astype(np.int64, copy=False), split.y, split.lengths)
