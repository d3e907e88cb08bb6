"""Tensors of the Open Inference Protocol's binary data extension, to and from NumPy.

    {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}

A message is one JSON object and, behind it without a gap, the bytes of those of its tensors that have a
`binary_data_size`, in the order of the tensors: little-endian, row-major, no padding. The header
`Inference-Header-Content-Length` says where the JSON ends. Unlike JSON, bytes carry NaN and infinity.
(Triton's docs/protocol/extension_binary_data.md.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_s4op.errors import BadInferenceInputError
from edge_s4op.tensors import array_from_json, datatype_of, tensor_head

__all__ = ["HEADER_LENGTH", "arrays_from_message", "binary_from_array", "header_length_of"]

HEADER_LENGTH = "Inference-Header-Content-Length"

Array = npt.NDArray[Any]


def binary_from_array(name: str, array: np.ndarray) -> tuple[dict[str, Any], memoryview]:
    """A tensor without its data, and the data. Raises BadInferenceInputError for another dtype.

    The array is copied only where it is not contiguous and little-endian.
    """
    datatype = datatype_of(name, array)
    data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data
    parameters = {"binary_data_size": array.nbytes}
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "parameters": parameters}, data


def arrays_from_message(
    tensors: Iterable[Mapping[str, Any]], data: memoryview
) -> Iterator[tuple[str, Array]]:
    """Name and array of every tensor, from JSON or from `data`, the bytes behind the JSON.

    Arrays are read-only views of `data` where the processor can read them there. Sizes are compared before
    anything is allocated. Raises BadInferenceInputError, also for bytes that no tensor wants.
    """
    for tensor in tensors:
        size_bytes = _binary_size_of(tensor)
        if size_bytes is None:
            yield array_from_json(tensor)
            continue
        yield _array_from_binary(tensor, size_bytes, data)
        data = data[size_bytes:]
    if data.nbytes:
        raise BadInferenceInputError(
            "the body is longer than its tensors",
            expected="the bytes of each tensor's binary_data_size, and no more",
            found=f"{data.nbytes} bytes left over",
        )


def header_length_of(texts: Sequence[str], content_length: int) -> int | None:
    """What the headers `Inference-Header-Content-Length` say; None when there are none.

    Raises BadInferenceInputError unless it is one number from 0 to `content_length`.
    """
    if not texts:
        return None
    text = texts[0]
    if len(texts) == 1 and text.isascii() and text.isdecimal() and len(text) < 20:
        length = int(text)
        if length <= content_length:
            return length
    raise BadInferenceInputError(
        f"the header {HEADER_LENGTH} is wrong",
        expected=f"one number of bytes, from 0 to the body's {content_length}",
        found=repr(", ".join(texts)[:80]),
    )


def _binary_size_of(tensor: Mapping[str, Any]) -> int | None:
    """`binary_data_size`; None for a tensor with `data`, and exactly one of the two must be there."""
    parameters = tensor.get("parameters")
    if parameters is None:
        return None
    _check_parameters(tensor, parameters)
    if "binary_data_size" not in parameters:
        return None
    size_bytes = parameters["binary_data_size"]
    if type(size_bytes) is not int or size_bytes < 0:
        raise _bad(tensor, "has no valid binary_data_size", "a number of bytes", repr(size_bytes)[:80])
    if "data" in tensor:
        raise _bad(tensor, "has data twice", "either 'data' or 'binary_data_size'", "both")
    return size_bytes


def _check_parameters(tensor: Mapping[str, Any], parameters: object) -> None:
    if not isinstance(parameters, dict):
        raise _bad(tensor, "has parameters that are no object", "an object", repr(parameters)[:80])
    for key in parameters:
        if key.startswith("shared_memory_"):
            raise _bad(
                tensor, "lies in shared memory, which is not offered here", "'data' or binary data", key
            )
        if key != "binary_data_size":
            raise _bad(tensor, "has an unknown parameter", "binary_data_size", repr(key)[:80])


def _array_from_binary(tensor: Mapping[str, Any], size_bytes: int, data: memoryview) -> tuple[str, Array]:
    name, dtype, shape = tensor_head(tensor)
    needed_bytes = math.prod(shape) * dtype.itemsize
    if size_bytes != needed_bytes:
        expected = f"{needed_bytes} bytes for {tensor['datatype']} {list(shape)}"
        raise _bad(tensor, "has a binary_data_size that its shape contradicts", expected, str(size_bytes))
    if size_bytes > data.nbytes:
        expected = f"{size_bytes} bytes behind the JSON, where the header {HEADER_LENGTH} says that it ends"
        raise _bad(tensor, "is cut off", expected, str(data.nbytes))
    try:
        array = np.frombuffer(data[:size_bytes], dtype=dtype.newbyteorder("<")).reshape(shape)
    except ValueError as error:  # a size 0 beside sizes whose product overflows
        raise BadInferenceInputError(f"tensor {name!r}: no array of shape {list(shape)}: {error}") from error
    # Runtimes read whole vectors; a JSON object of any length before them leaves three of four unaligned.
    return name, array if array.flags.aligned and array.dtype.isnative else array.astype(dtype)


def _bad(tensor: Mapping[str, Any], what: str, expected: str, found: str) -> BadInferenceInputError:
    return BadInferenceInputError(f"tensor {tensor.get('name')!r:.80} {what}", expected=expected, found=found)
