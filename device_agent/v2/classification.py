"""Triton's classification extension: of an output its highest values, as "value:index:label"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from device_agent.v2.refusal import bad_request
from edge_s4op.runtime import Array

__all__ = ["bytes_tensor", "top_classes"]

_MOST_ELEMENTS = 1_000_000  # as Triton: each becomes a string


def top_classes(values: Array, classes: int, labels: Sequence[str]) -> tuple[list[int], list[str]]:
    """Shape (B, count) and elements of the BYTES tensor for an output `values` of shape (B, ...).

    Each of the B rows gives its `classes` highest values, the highest first, of equals the lower index.
    Raises RequestError 400 when the output is too large for it.
    """
    if values.size > _MOST_ELEMENTS:
        raise bad_request(
            "the output is too large for classification", f"{_MOST_ELEMENTS} values", values.size
        )
    rows = values.reshape(values.shape[0], -1)  # (B, N)
    count = min(classes, rows.shape[1])
    order = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]  # (B, count); NaN last
    texts = [
        _class_text(rows[row, index], int(index), labels)
        for row in range(rows.shape[0])
        for index in order[row]
    ]
    return [rows.shape[0], count], texts


def bytes_tensor(texts: Sequence[str]) -> bytes:
    """A BYTES tensor in binary: each element's length as four little-endian bytes, then its UTF-8."""
    encoded = [text.encode() for text in texts]
    return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)


def _class_text(value: np.generic, index: int, labels: Sequence[str]) -> str:
    number = f"{value:f}" if value.dtype.kind == "f" else f"{value}"  # as C++'s std::to_string
    return f"{number}:{index}:{labels[index]}" if index < len(labels) else f"{number}:{index}"
