"""Requests joined to one batch, and its outputs split again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from edge_s4op.artifact import Manifest
from edge_s4op.errors import InferenceError
from edge_s4op.runtime import Array

__all__ = ["has_batch_axis", "join", "kind_of", "rows_of", "split"]


def has_batch_axis(manifest: Manifest) -> bool:
    """Whether every input and output has its rows along the first axis, so that requests can be joined."""
    infos = (*manifest.inputs, *manifest.outputs)
    return bool(infos) and all(info.shape and info.shape[0] == -1 for info in infos)


def rows_of(feeds: Mapping[str, Array]) -> int:
    """Rows of a request; 1 where it is malformed, which the run will tell."""
    shapes = [array.shape for array in feeds.values()]
    return shapes[0][0] if shapes and shapes[0] else 1


def kind_of(feeds: Mapping[str, Array]) -> Hashable:
    """Requests of equal kind can be joined: the same inputs, of equal dtypes and shapes but for the rows.

    None (join it with nothing) for inputs whose rows differ, or that have none.
    """
    rows = {array.shape[:1] for array in feeds.values()}
    if len(rows) != 1 or not all(next(iter(rows))):
        return None
    return tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in feeds.items())) or None


def join(requests: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
    """One batch of all rows, in order; a single request as it is. They must be of one kind."""
    if len(requests) == 1:
        return requests[0]
    return {name: np.concatenate([feeds[name] for feeds in requests]) for name in requests[0]}


def split(outputs: Mapping[str, Array], rows: Sequence[int]) -> list[dict[str, Array]]:
    """Each request's rows of every output, as views. Raises InferenceError when the rows do not add up."""
    if len(rows) == 1:
        return [dict(outputs)]
    ends = np.cumsum(rows).tolist()
    for name, array in outputs.items():
        if array.shape[:1] != (ends[-1],):
            raise InferenceError(
                f"output {name!r} cannot be split", expected=f"{ends[-1]} rows", found=list(array.shape)
            )
    return [
        {name: array[end - count : end] for name, array in outputs.items()}
        for count, end in zip(rows, ends, strict=True)
    ]
