"""Inputs of a model as its manifest describes them: checked before a run, or drawn at random."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_s4op.artifact import Manifest, TensorInfo
from edge_s4op.errors import BadInferenceInputError, UnknownNameError
from edge_s4op.runtime.protocol import Array

__all__ = ["LENGTHS", "check_feeds", "numpy_dtype", "random_feeds"]

LENGTHS = "lengths"  # the int64 input of padded models: how many positions of each sequence are real

_LARGEST_HALF = float(np.finfo(np.float16).max)  # 65504

_DTYPES: dict[str, np.dtype[np.generic]] = {
    "FP32": np.dtype(np.float32),
    "FP16": np.dtype(np.float16),
    "INT64": np.dtype(np.int64),
}


def numpy_dtype(datatype: str) -> np.dtype[np.generic]:
    """NumPy dtype of a manifest datatype ("FP32", "FP16", "INT64")."""
    if datatype not in _DTYPES:
        raise UnknownNameError("datatype", datatype, _DTYPES)
    return _DTYPES[datatype]


def check_feeds(manifest: Manifest, feeds: Mapping[str, Array]) -> None:
    """Raise BadInferenceInputError unless `feeds` are exactly the inputs the manifest lists.

    Names, dtypes, ranks, fixed dimensions, one common batch >= 1, tokens in [0, vocab_size), lengths
    in [1, seq_len], floats that a model in fp16 can hold. Backends would stop on most of these too, each
    in its own words; they would not stop on a length or on infinity, and some read a token out of range
    from foreign memory.
    """
    _check_names(manifest, feeds)
    for info in manifest.inputs:
        _check_dtype(info, feeds[info.name])
        _check_shape(info, feeds[info.name])
        _check_values(info, feeds[info.name], manifest)
    _check_batch(manifest, feeds)


def random_feeds(manifest: Manifest, batch: int, seed: int = 0) -> dict[str, Array]:
    """Seeded inputs of `batch` sequences: standard normal, uniform tokens, full lengths.

    Of a streaming file: one sample of `batch` new streams, whose states are zero.
    """
    generator = np.random.default_rng(seed)
    states = manifest.streaming.states if manifest.streaming else ()
    new = {
        state.name_in: np.zeros((batch, *state.shape[1:]), numpy_dtype(state.datatype)) for state in states
    }
    drawn = [info for info in manifest.inputs if info.name not in new]
    return {info.name: _random_tensor(info, manifest, batch, generator) for info in drawn} | new


def _random_tensor(info: TensorInfo, manifest: Manifest, batch: int, generator: np.random.Generator) -> Array:
    free = (batch, *(1 for _ in info.shape[1:]))  # -1 behind the batch: samples of a stream, one here
    shape = tuple(own if size == -1 else size for size, own in zip(info.shape, free, strict=False))
    if info.datatype != "INT64":
        return generator.standard_normal(shape, dtype=np.float32).astype(numpy_dtype(info.datatype))
    if info.name == LENGTHS:
        return np.full(shape, manifest.seq_len, dtype=np.int64)
    if info.vocab_size is None:
        raise BadInferenceInputError(
            f"input {info.name!r}: cannot draw tokens at random",
            expected="a vocab_size in the manifest",
            found="none",
            fix="export the model again with its vocabulary size",
        )
    return generator.integers(0, info.vocab_size, shape, dtype=np.int64)


def _check_names(manifest: Manifest, feeds: Mapping[str, Array]) -> None:
    known = [info.name for info in manifest.inputs]
    missing = [name for name in known if name not in feeds]
    unknown = [name for name in feeds if name not in known]
    if not missing and not unknown:
        return
    raise BadInferenceInputError(
        f"unknown input {unknown[0]!r}" if unknown else f"input {missing[0]!r} is missing",
        expected=f"input(s) {', '.join(known)}",
        found=", ".join(feeds) or "none",
        fix=_hint(unknown, known),
    )


def _hint(unknown: list[str], known: list[str]) -> str | None:
    near = UnknownNameError("input", unknown[0], known).near if unknown else []
    return f"did you mean {' or '.join(near)}?" if near else None


def _check_dtype(info: TensorInfo, array: Array) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != numpy_dtype(info.datatype):
        raise BadInferenceInputError(
            f"input {info.name!r} has the wrong datatype",
            expected=f"{info.datatype} ({numpy_dtype(info.datatype)})",
            found=getattr(array, "dtype", type(array).__name__),
        )


def _check_shape(info: TensorInfo, array: Array) -> None:
    shape, wanted = array.shape, info.shape
    if shape[1:] == wanted[1:] and wanted[:1] == (-1,) and array.size:
        return  # nearly always: a stream's push checks a handful of inputs within 0.1 ms
    fits = len(shape) == len(wanted) and all(
        size >= 1 and want in (-1, size) for size, want in zip(shape, wanted, strict=True)
    )
    if not fits:
        raise BadInferenceInputError(
            f"input {info.name!r} has the wrong shape",
            expected=f"{list(info.shape)}, -1 being a batch of 1 or more",
            found=list(array.shape),
        )


def _check_batch(manifest: Manifest, feeds: Mapping[str, Array]) -> None:
    batched = [info.name for info in manifest.inputs if info.shape[:1] == (-1,)]
    if len({feeds[name].shape[0] for name in batched}) > 1:
        batches = {name: feeds[name].shape[0] for name in batched}
        raise BadInferenceInputError(
            "the inputs have different batch sizes",
            expected="one batch size",
            found=", ".join(f"{name}: {size}" for name, size in batches.items()),
        )


def _check_values(info: TensorInfo, array: Array, manifest: Manifest) -> None:
    bounds = _bounds(info, manifest)
    if bounds is None or array.size == 0:
        return
    low, high = array.min().item(), array.max().item()
    if low < bounds[0] or high > bounds[1]:
        kind = {LENGTHS: "length"}.get(info.name, "token" if info.datatype == "INT64" else "value")
        raise BadInferenceInputError(
            f"input {info.name!r} has a {kind} out of range",
            expected=f"{bounds[0]} to {bounds[1]}",
            found=low if low < bounds[0] else high,
        )


def _bounds(info: TensorInfo, manifest: Manifest) -> tuple[float, float] | None:
    if info.datatype == "FP32" and manifest.precision == "fp16":
        return -_LARGEST_HALF, _LARGEST_HALF  # the graph casts it: beyond lies infinity, and a NaN behind it
    if info.datatype != "INT64":
        return None
    if info.name == LENGTHS:
        return 1, manifest.seq_len
    return None if info.vocab_size is None else (0, info.vocab_size - 1)
