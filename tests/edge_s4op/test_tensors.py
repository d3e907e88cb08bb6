"""JSON tensors: exact both ways. (What is refused is tested over HTTP, with the agent.)"""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_s4op.errors import BadInferenceInputError
from edge_s4op.tensors import array_from_json, json_from_array

EXTREMES = {
    np.float32: [np.finfo(np.float32).max, np.finfo(np.float32).tiny, 1e-45, -0.0, 1 / 3],
    np.float16: [65504, 6e-8, -0.0, 1 / 3, 2049],
    np.int64: [2**63 - 1, -(2**63), 0, 2**53 + 1, -1],
}


@pytest.mark.parametrize("dtype", EXTREMES)
@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 1, 1)])
def test_every_bit_survives(dtype: type, shape: tuple[int, ...]) -> None:
    array = np.array(EXTREMES[dtype], dtype=dtype).reshape(shape)
    name, back = array_from_json(json.loads(json.dumps(json_from_array("t", array), allow_nan=False)))
    assert name == "t"
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), ()])
def test_empty_and_scalar_tensors_survive(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, dtype=np.float32)
    assert array_from_json(json_from_array("t", array))[1].shape == shape


def test_order_is_row_major_whatever_the_memory_layout() -> None:
    array = np.arange(6, dtype=np.int64).reshape(2, 3).T
    assert json_from_array("t", array)["data"] == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_json_cannot_carry_is_refused(value: float) -> None:
    with pytest.raises(BadInferenceInputError, match="'t' holds NaN or infinity"):
        json_from_array("t", np.array([1, value], dtype=np.float32))


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.bool_, np.complex64])
def test_another_dtype_is_refused_with_the_fix(dtype: type) -> None:
    with pytest.raises(BadInferenceInputError, match=r"astype"):
        json_from_array("t", np.zeros(2, dtype=dtype))
