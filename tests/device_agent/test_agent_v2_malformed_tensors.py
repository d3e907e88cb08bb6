"""What is wrong with a tensor sent to /v2 is a 400 that says so in exact words; nothing else is harmed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.device_agent.malformed import (
    BINARY_X,
    DATA,
    HEADER,
    INFER,
    JSON_X,
    check_it_still_answers,
    message,
    refused,
    strict_agent,
)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with strict_agent(tmp_path_factory.mktemp("malformed")) as http:
        yield http


WRONG_LENGTHS = {
    "negative": "-1",
    "signed": "+9",
    "fraction": "9.0",
    "hexadecimal": "0x9",
    "words": "nine",
    "empty": "",
    "beyond the body": "900",
    "giant": "9" * 19,
    "gigantic": "9" * 5000,
    "list": "9, 9",
}


@pytest.mark.parametrize("text", WRONG_LENGTHS.values(), ids=WRONG_LENGTHS)
def test_a_wrong_header_length(agent: httpx.Client, text: str) -> None:
    body, _ = message(BINARY_X)
    assert refused(agent.post(INFER, content=body, headers={HEADER: text})) == (
        400,
        f"the header {HEADER} is wrong; expected one number of bytes, from 0 to the body's {len(body)}; "
        f"found {text[:80]!r}",
    )
    check_it_still_answers(agent)


def test_two_header_lengths(agent: httpx.Client) -> None:
    body, length = message(BINARY_X)
    answer = agent.post(INFER, content=body, headers=[(HEADER, str(length)), (HEADER, "1")])
    assert refused(answer)[0] == 400
    assert f"found '{length}, 1'" in refused(answer)[1]


TENSOR = "tensor 'x' "
SIZES = "has a binary_data_size that its shape contradicts; expected "
WRONG_TENSORS: dict[str, tuple[dict[str, Any], str]] = {
    "size too small": ({"parameters": {"binary_data_size": 8}}, SIZES + "12 bytes for FP32 [1, 3]; found 8"),
    "size too large": (
        {"parameters": {"binary_data_size": 16}},
        SIZES + "12 bytes for FP32 [1, 3]; found 16",
    ),
    "giant size": (
        {"parameters": {"binary_data_size": 2**62}},
        SIZES + f"12 bytes for FP32 [1, 3]; found {2**62}",
    ),
    "giant shape": (
        {"shape": [2**31 - 1] * 4},
        SIZES + f"{4 * (2**31 - 1) ** 4} bytes for FP32 {[2**31 - 1] * 4}; found 12",
    ),
    "giant shape and size": (
        {"shape": [2**30, 3], "parameters": {"binary_data_size": 12 * 2**30}},
        f"is cut off; expected {12 * 2**30} bytes behind the JSON, where the header {HEADER} says that it "
        "ends; found 12",
    ),
    "negative size": (
        {"parameters": {"binary_data_size": -12}},
        "has no valid binary_data_size; expected a number of bytes; found -12",
    ),
    "size true": (
        {"parameters": {"binary_data_size": True}},
        "has no valid binary_data_size; expected a number of bytes; found True",
    ),
    "size as text": (
        {"parameters": {"binary_data_size": "12"}},
        "has no valid binary_data_size; expected a number of bytes; found '12'",
    ),
    "size as fraction": (
        {"parameters": {"binary_data_size": 12.0}},
        "has no valid binary_data_size; expected a number of bytes; found 12.0",
    ),
    "data twice": (
        {"data": [1, 2, 3]},
        "has data twice; expected either 'data' or 'binary_data_size'; found both",
    ),
    "unknown parameter": (
        {"parameters": {"binary_data_size": 12, "colour": 1}},
        "has an unknown parameter; expected binary_data_size; found 'colour'",
    ),
    "parameters no object": (
        {"parameters": [12]},
        "has parameters that are no object; expected an object; found [12]",
    ),
    "shared memory": (
        {"parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 12}},
        "lies in shared memory, which is not offered here; expected 'data' or binary data; "
        "found shared_memory_region",
    ),
    "negative dimension": (
        {"shape": [-1, 3]},
        "has no valid shape; expected a list 'shape' of at most 32 sizes from 0 to 2147483647; found [-1, 3]",
    ),
    "dimension true": (
        {"shape": [True, 3]},
        "has no valid shape; expected a list 'shape' of at most 32 sizes from 0 to 2147483647; "
        "found [True, 3]",
    ),
    "bytes": (
        {"datatype": "BYTES"},
        "has no datatype known here; expected one of FP32, FP16, INT64; found 'BYTES'",
    ),
    "bool": (
        {"datatype": "BOOL", "parameters": {"binary_data_size": 3}},
        "has no datatype known here; expected one of FP32, FP16, INT64; found 'BOOL'",
    ),
    "no data": ({"parameters": {}}, "has no data; expected a list 'data' of numbers"),
}


@pytest.mark.parametrize(("change", "text"), WRONG_TENSORS.values(), ids=WRONG_TENSORS)
def test_a_wrong_binary_tensor(agent: httpx.Client, change: dict[str, Any], text: str) -> None:
    body, length = message(BINARY_X | change)
    answer = agent.post(INFER, content=body, headers={HEADER: str(length)})
    assert refused(answer) == (400, TENSOR + text)
    check_it_still_answers(agent)


@pytest.mark.parametrize("kept_bytes", [0, 1, 11])
def test_a_truncated_tensor(agent: httpx.Client, kept_bytes: int) -> None:
    body, length = message(BINARY_X, DATA[:kept_bytes])
    assert refused(agent.post(INFER, content=body, headers={HEADER: str(length)})) == (
        400,
        f"tensor 'x' is cut off; expected 12 bytes behind the JSON, where the header {HEADER} says that it "
        f"ends; found {kept_bytes}",
    )
    check_it_still_answers(agent)


@pytest.mark.parametrize("tensor", [BINARY_X, JSON_X], ids=["binary", "JSON"])
def test_bytes_nobody_wants(agent: httpx.Client, tensor: dict[str, Any]) -> None:
    body, length = message(tensor, (DATA if tensor is BINARY_X else b"") + b"?")
    assert refused(agent.post(INFER, content=body, headers={HEADER: str(length)})) == (
        400,
        "the body is longer than its tensors; expected the bytes of each tensor's binary_data_size, and no "
        "more; found 1 bytes left over",
    )


def test_binary_tensors_without_the_header(agent: httpx.Client) -> None:
    body, length = message(BINARY_X)
    assert refused(agent.post(INFER, content=body)) == (
        400,
        f"the body is not JSON: 'utf-8' codec can't decode byte 0x80 in position {length + 2}: "
        "invalid start byte",
    )
    assert refused(agent.post(INFER, content=body[:length]))[1].endswith("says that it ends; found 0")


def test_a_header_that_cuts_the_json(agent: httpx.Client) -> None:
    body, length = message(BINARY_X)
    status, text = refused(agent.post(INFER, content=body, headers={HEADER: str(length - 1)}))
    assert (status, text[:22]) == (400, "the body is not JSON: ")
    check_it_still_answers(agent)


def test_a_body_without_json_must_be_the_one_input(agent: httpx.Client) -> None:
    answer = agent.post(INFER, content=DATA[:8], headers={HEADER: "0"})
    assert refused(answer) == (400, TENSOR + SIZES + "12 bytes for FP32 [1, 3]; found 8")
    answer = agent.post("/v2/models/two/infer", content=DATA, headers={HEADER: "0"})
    assert refused(answer) == (400, "a body without JSON is for models with one input; found 2")
    check_it_still_answers(agent)
