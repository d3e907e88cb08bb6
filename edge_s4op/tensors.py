"""Tensors as the Open Inference Protocol writes them in JSON, to and from NumPy.

    {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5]}

`data` is flat in row-major order, or nested as `shape` says. JSON has no NaN and no infinity, so
neither is written or read.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_s4op.errors import BadInferenceInputError

__all__ = ["array_from_json", "check_finite", "datatype_of", "json_from_array", "tensor_head"]

Array = npt.NDArray[Any]

_DTYPES: dict[str, npt.DTypeLike] = {"FP32": np.float32, "FP16": np.float16, "INT64": np.int64}
_DATATYPES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_MAX_RANK = 32  # NumPy 1's limit; the product of more sizes takes long and cannot be printed


def json_from_array(name: str, array: np.ndarray) -> dict[str, Any]:
    """A JSON tensor, flat. Raises BadInferenceInputError for another dtype, NaN or infinity."""
    datatype = datatype_of(name, array)
    check_finite(name, array)
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}


def datatype_of(name: str, array: np.ndarray) -> str:
    """The protocol's name of an array's dtype, "FP32". Raises BadInferenceInputError for another dtype."""
    datatype = _DATATYPES.get(array.dtype)
    if datatype is None:
        raise BadInferenceInputError(
            f"tensor {name!r} has dtype {array.dtype}",
            expected=f"one of {', '.join(str(dtype) for dtype in _DATATYPES)}",
            fix="convert it with .astype(...)",
        )
    return datatype


def array_from_json(tensor: Mapping[str, Any]) -> tuple[str, Array]:
    """Name and array of a JSON tensor. Raises BadInferenceInputError, naming what is wrong."""
    name, dtype, shape = tensor_head(tensor)
    if not isinstance(tensor.get("data"), list):
        raise BadInferenceInputError(f"tensor {name!r} has no data", expected="a list 'data' of numbers")
    values = _flattened(name, tensor["data"], shape)
    _check_types(name, values, dtype)
    return name, _array(name, values, dtype, shape)


def tensor_head(tensor: Mapping[str, Any]) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    """Name, dtype and shape of a tensor, its data apart. Raises BadInferenceInputError."""
    name = tensor.get("name")
    if not isinstance(name, str):
        found = repr(name)[:80]
        raise BadInferenceInputError("a tensor has no name", expected="a string 'name'", found=found)
    return name, _dtype_of(name, tensor.get("datatype")), _shape_of(name, tensor.get("shape"))


def _dtype_of(name: str, datatype: object) -> np.dtype[Any]:
    if not isinstance(datatype, str) or datatype not in _DTYPES:
        raise BadInferenceInputError(
            f"tensor {name!r} has no datatype known here",
            expected=f"one of {', '.join(_DTYPES)}",
            found=repr(datatype)[:80],
        )
    return np.dtype(_DTYPES[datatype])


def _shape_of(name: str, shape: object) -> tuple[int, ...]:
    if (
        not isinstance(shape, list)
        or len(shape) > _MAX_RANK
        or not all(type(size) is int and 0 <= size < 2**31 for size in shape)
    ):
        raise BadInferenceInputError(
            f"tensor {name!r} has no valid shape",
            expected=f"a list 'shape' of at most {_MAX_RANK} sizes from 0 to 2147483647",
            found=repr(shape)[:80],
        )
    return tuple(shape)


def _flattened(name: str, data: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """`data` as one flat list; nested lists must be nested exactly as `shape` says."""
    values = data
    if values and isinstance(values[0], list):
        for depth, size in enumerate(shape):
            if depth > 0:
                values = _one_level(name, values, size, shape)
    if len(values) != math.prod(shape):
        raise BadInferenceInputError(
            f"tensor {name!r}: shape and data disagree",
            expected=f"{math.prod(shape)} numbers for shape {list(shape)}, flat or nested so",
            found=f"{len(values)}",
        )
    return values


def _one_level(name: str, rows: list[Any], size: int, shape: tuple[int, ...]) -> list[Any]:
    if not all(isinstance(row, list) and len(row) == size for row in rows):
        raise BadInferenceInputError(
            f"tensor {name!r}: the lists in data are not nested as its shape says",
            expected=f"nesting {list(shape)}, or a flat list",
        )
    return list(itertools.chain.from_iterable(rows))


def _check_types(name: str, values: list[Any], dtype: np.dtype[Any]) -> None:
    allowed = {int} if dtype.kind == "i" else {int, float}
    wrong = set(map(type, values)) - allowed
    if wrong:
        raise BadInferenceInputError(
            f"tensor {name!r}: data holds something else than {dtype} numbers",
            expected="integers" if dtype.kind == "i" else "numbers",
            found=", ".join(sorted(kind.__name__ for kind in wrong)),
        )


def _array(name: str, values: list[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=dtype).reshape(shape)
    except OverflowError as error:
        raise BadInferenceInputError(f"tensor {name!r}: a number does not fit {dtype}") from error
    except ValueError as error:  # a size 0 beside sizes whose product overflows
        raise BadInferenceInputError(f"tensor {name!r}: no array of shape {list(shape)}: {error}") from error
    check_finite(name, array)
    return array


def check_finite(name: str, array: Array) -> None:
    """Raise BadInferenceInputError for NaN and infinity."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadInferenceInputError(
            f"tensor {name!r} holds NaN or infinity (or a number too large for {array.dtype}),"
            " which JSON cannot carry",
        )
