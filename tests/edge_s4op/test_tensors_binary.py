"""Binary tensors: every bit, in every layout of memory; sizes that contradict each other are refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edge_s4op.errors import BadInferenceInputError
from edge_s4op.inferring import infer_request, outputs_from
from edge_s4op.tensors_binary import HEADER_LENGTH, arrays_from_message, binary_from_array, header_length_of

X = np.array([[1.5, -2, 3], [0, 1e-45, 3e38]], dtype=np.float32)


def through_bytes(array: np.ndarray, offset: int = 0) -> np.ndarray:
    """`array`, written and read again where it begins at byte `offset`."""
    tensor, data = binary_from_array("x", array)
    content = memoryview(bytes(offset) + bytes(data))[offset:]
    ((name, read),) = arrays_from_message([json.loads(json.dumps(tensor))], content)
    assert name == "x"
    return read


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
@pytest.mark.parametrize("shape", [(), (1,), (6,), (2, 3), (1, 2, 3, 1)])
def test_what_is_written_is_read(dtype: type, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)
    read = through_bytes(array)
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(read, array)


def test_nan_and_infinity_keep_their_bits() -> None:
    array = np.array([np.nan, np.inf, -np.inf, -0.0], dtype=np.float32)
    assert through_bytes(array).tobytes() == array.tobytes()


@pytest.mark.parametrize("array", [X.T, X[:, ::2], X[::-1], np.asfortranarray(X)])
def test_any_layout_is_written_row_by_row(array: np.ndarray) -> None:
    np.testing.assert_array_equal(through_bytes(array), array)


def test_bytes_are_little_endian() -> None:
    for array in (np.array([1], dtype=np.int64), np.array([1], dtype=np.dtype(np.int64).newbyteorder("<"))):
        assert bytes(binary_from_array("x", array)[1]) == b"\1" + bytes(7)


@pytest.mark.parametrize("offset", range(9))
def test_a_runtime_gets_aligned_native_arrays(offset: int) -> None:
    read = through_bytes(X, offset)
    assert read.flags.aligned
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, X)


def test_aligned_bytes_are_not_copied() -> None:
    tensor, data = binary_from_array("x", X)
    content = np.frombuffer(bytes(data), dtype=np.uint8)
    ((_, read),) = arrays_from_message([tensor], content.data)
    assert np.shares_memory(read, content)
    assert np.shares_memory(np.asarray(data), X)


def test_bytes_follow_in_the_order_of_the_tensors() -> None:
    first, a = binary_from_array("a", X)
    second, b = binary_from_array("b", -X)
    in_json = {"name": "j", "datatype": "INT64", "shape": [1], "data": [7]}
    read = dict(arrays_from_message([first, in_json, second], memoryview(bytes(a) + bytes(b))))
    np.testing.assert_array_equal(read["a"], X)
    np.testing.assert_array_equal(read["b"], -X)
    assert read["j"].tolist() == [7]


def test_another_dtype_is_refused() -> None:
    with pytest.raises(BadInferenceInputError, match="dtype float64"):
        binary_from_array("x", np.ones(3))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shape": [2, 4]}, "expected 32 bytes for FP32"),
        ({"shape": [2**31 - 1] * 32}, "its shape contradicts"),
        ({"shape": [0, 3]}, "expected 0 bytes"),
        ({"shape": [0, *[2**31 - 1] * 9], "parameters": {"binary_data_size": 0}}, "no array of shape"),
        ({"parameters": {"binary_data_size": 24, "more": 1}}, "unknown parameter"),
        ({"parameters": "24"}, "no object"),
        ({"name": None}, "no name"),
        ({"data": []}, "data twice"),
    ],
)
def test_a_contradiction_is_refused(change: dict[str, Any], reason: str) -> None:
    tensor, data = binary_from_array("x", X)
    with pytest.raises(BadInferenceInputError, match=reason):
        list(arrays_from_message([tensor | change], memoryview(bytes(data))))


def test_the_header_says_where_json_ends() -> None:
    assert header_length_of([], 9) is None
    assert [header_length_of([text], 9) for text in ("0", "9", "007")] == [0, 9, 7]
    for texts in (
        ["10"],
        ["-1"],
        ["1 "],
        ["\N{SUPERSCRIPT TWO}"],
        ["\N{ARABIC-INDIC DIGIT ONE}"],
        ["1", "1"],
    ):
        with pytest.raises(BadInferenceInputError, match=HEADER_LENGTH):
            header_length_of(texts, 9)


@pytest.mark.parametrize("binary", [True, False])
def test_a_request_asks_for_binary_outputs_and_holds_its_inputs(binary: bool) -> None:
    content, headers = infer_request({"a": X, "b": -X}, binary)
    assert (HEADER_LENGTH in headers) == binary
    end = int(headers.get(HEADER_LENGTH, len(content)))
    request = json.loads(content[:end])
    assert request["parameters"] == {"binary_data_output": True}
    read = dict(arrays_from_message(request["inputs"], memoryview(content)[end:]))
    np.testing.assert_array_equal(read["a"], X)
    np.testing.assert_array_equal(read["b"], -X)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("array", [np.array([np.nan], dtype=np.float32), np.ones(3)])
def test_a_client_sends_numbers_only(binary: bool, array: np.ndarray) -> None:
    with pytest.raises(BadInferenceInputError):
        infer_request({"x": array}, binary)


def test_answers_are_read_in_either_form() -> None:
    tensor, data = binary_from_array("y", X)
    header = json.dumps({"outputs": [tensor]}).encode()
    np.testing.assert_array_equal(outputs_from(header + bytes(data), [str(len(header))])["y"], X)
    in_json = json.dumps({"outputs": [{"name": "y", "datatype": "INT64", "shape": [1], "data": [7]}]})
    assert outputs_from(in_json.encode(), [])["y"].tolist() == [7]
    with pytest.raises(BadInferenceInputError, match="cut off"):
        outputs_from(header + bytes(data)[:-1], [str(len(header))])
