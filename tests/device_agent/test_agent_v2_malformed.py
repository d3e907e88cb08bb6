"""What is wrong with a request to /v2 is a 4xx that says so in exact words, and nothing else is harmed."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import zlib
from collections.abc import Iterator

import httpx
import pytest

from tests.device_agent.malformed import (
    BINARY_X,
    HEADER,
    INFER,
    JSON_X,
    LIMIT_BYTES,
    check_it_still_answers,
    message,
    refused,
    strict_agent,
)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with strict_agent(tmp_path_factory.mktemp("malformed")) as http:
        yield http


TYPE = "the parameter '{}' has the wrong type; expected {}; found "
WHOLE = TYPE.format("priority", "a whole number, 0 for the model's default, 1 the most urgent")
TIMEOUT = TYPE.format("timeout", "whole microseconds, 0 for the model's default")
KNOWN = "priority, timeout, binary_data_output, sequence_id, sequence_start, sequence_end"
FLAG = "the parameter '{}' has the wrong type; expected true or false; found "
SEQUENCE = TYPE.format("sequence_id", "a whole number, or a string of at most 128 characters")
WRONG_PARAMETERS: list[tuple[object, str]] = [
    ([], "the request's parameters cannot be read; expected an object 'parameters'; found []"),
    ({"colour": 1}, f"the request has an unknown parameter; expected one of {KNOWN}; found 'colour'"),
    ({"triton_x": 1}, f"the request has an unknown parameter; expected one of {KNOWN}; found 'triton_x'"),
    ({"priority": -1}, WHOLE + "-1"),
    ({"priority": True}, WHOLE + "True"),
    ({"priority": 2**64}, WHOLE + f"{2**64}"),
    ({"priority": 1.0}, WHOLE + "1.0"),
    ({"timeout": "1"}, TIMEOUT + "'1'"),
    ({"timeout": {}}, TIMEOUT + "{}"),
    ({"binary_data_output": 1}, FLAG.format("binary_data_output") + "1"),
    ({"sequence_id": -1}, SEQUENCE + "-1"),
    ({"sequence_id": 1.5}, SEQUENCE + "1.5"),
    ({"sequence_id": "s" * 129}, SEQUENCE + "'" + "s" * 79),
    ({"sequence_id": 1, "sequence_start": "yes"}, FLAG.format("sequence_start") + "'yes'"),
    (
        {"sequence_start": True},
        "a sequence starts or ends without a sequence_id; expected a sequence_id, not 0 or ''",
    ),
    (
        {"sequence_id": "", "sequence_end": True},
        "a sequence starts or ends without a sequence_id; expected a sequence_id, not 0 or ''",
    ),
]


@pytest.mark.parametrize(("parameters", "text"), WRONG_PARAMETERS)
def test_a_wrong_parameter(agent: httpx.Client, parameters: object, text: str) -> None:
    body, length = message(BINARY_X, parameters=parameters)
    assert refused(agent.post(INFER, content=body, headers={HEADER: str(length)})) == (400, text)
    check_it_still_answers(agent)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (5, "the parameters of output 'y' cannot be read; expected an object; found 5"),
        (
            {"colour": 1},
            "output 'y' has an unknown parameter; expected binary_data, classification; found 'colour'",
        ),
        ({"binary_data": 1}, FLAG.format("binary_data") + "1"),
        (
            {"classification": -1},
            "the parameter 'classification' has the wrong type; expected a number of classes; found -1",
        ),
        (
            {"classification": True},
            "the parameter 'classification' has the wrong type; expected a number of classes; found True",
        ),
    ],
)
def test_a_wrong_parameter_of_an_output(agent: httpx.Client, parameters: object, text: str) -> None:
    answer = agent.post(
        INFER, json={"inputs": [JSON_X], "outputs": [{"name": "y", "parameters": parameters}]}
    )
    assert refused(answer) == (400, text)
    check_it_still_answers(agent)


PLAIN = json.dumps({"inputs": [JSON_X]}).encode()
ZEROS = b" " * (LIMIT_BYTES + 1)
WRONG_ENCODINGS: dict[str, tuple[str, bytes, int, str]] = {
    "unknown": (
        "br",
        PLAIN,
        400,
        "the body has an unknown Content-Encoding; expected gzip, deflate or identity; found 'br'",
    ),
    "two": (
        "gzip, gzip",
        PLAIN,
        400,
        "the body has an unknown Content-Encoding; expected gzip, deflate or identity; found 'gzip, gzip'",
    ),
    "not gzip": (
        "gzip",
        PLAIN,
        400,
        "the body is not gzip: Error -3 while decompressing data: incorrect header check",
    ),
    "not deflate": (
        "deflate",
        PLAIN,
        400,
        "the body is not deflate: Error -3 while decompressing data: incorrect header check",
    ),
    "truncated": ("gzip", gzip.compress(PLAIN)[:-9], 400, "the body is not one whole gzip stream"),
    "more behind it": (
        "deflate",
        zlib.compress(PLAIN) + b"?",
        400,
        "the body is not one whole deflate stream",
    ),
    "empty": ("gzip", b"", 400, "the body is not one whole gzip stream"),
    "a bomb": (
        "gzip",
        gzip.compress(ZEROS * 100),
        413,
        f"the body is larger than the {LIMIT_BYTES} bytes allowed here, once decompressed",
    ),
}


@pytest.mark.parametrize(
    ("encoding", "body", "status", "text"), WRONG_ENCODINGS.values(), ids=WRONG_ENCODINGS
)
def test_a_wrong_encoding(agent: httpx.Client, encoding: str, body: bytes, status: int, text: str) -> None:
    answer = agent.post(INFER, content=body, headers={"Content-Encoding": encoding})
    assert refused(answer) == (status, text)
    check_it_still_answers(agent)


def test_a_body_too_large(agent: httpx.Client) -> None:
    text = f"the body is larger than the {LIMIT_BYTES} bytes allowed here"
    assert refused(agent.post(INFER, content=ZEROS)) == (413, text)
    assert refused(agent.post(INFER, content=iter([ZEROS]))) == (413, text)  # its size not announced
    check_it_still_answers(agent)


@pytest.mark.parametrize(
    "body", [b"[" * 90_000, b'{"inputs":' * 9_000, b'{"a":' * 9_000 + b"1" + b"}" * 9_000]
)
def test_deep_nesting(agent: httpx.Client, body: bytes) -> None:
    assert refused(agent.post(INFER, content=body))[0] == 400
    check_it_still_answers(agent)


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("index", b"[]", "the body is no JSON object; expected an object; found []"),
        (
            "index",
            b"nothing",
            "the body is not JSON: Expecting value: line 1 column 1 (char 0)",
        ),
        ("index", b'{"ready": 1}', FLAG.format("ready") + "1"),
        (
            "models/m/unload",
            b'{"parameters": 1}',
            "the request's parameters cannot be read; expected an object 'parameters'; found 1",
        ),
        (
            "models/m/unload",
            b'{"parameters": {"unload_dependents": 0}}',
            FLAG.format("unload_dependents") + "0",
        ),
    ],
)
def test_a_wrong_repository_request(agent: httpx.Client, path: str, body: bytes, text: str) -> None:
    assert refused(agent.post(f"/v2/repository/{path}", content=body)) == (400, text)
    check_it_still_answers(agent)


def test_a_wrong_method_or_path(agent: httpx.Client) -> None:
    assert refused(agent.get(INFER)) == (405, f"Method Not Allowed: GET {INFER}")
    assert refused(agent.get("/v2/models/m/weights")) == (404, "Not Found: GET /v2/models/m/weights")


def raw_head(body: bytes, length: int) -> bytes:
    lines = [f"POST {INFER} HTTP/1.1", "Host: x", f"{HEADER}: {length}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_client_that_leaves_in_the_middle(agent: httpx.Client) -> None:
    """Of its body, and before its answer."""
    address = (agent.base_url.host, agent.base_url.port)
    body, length = message(BINARY_X)
    head = raw_head(body, length)
    for sent in (head + body[:-3], head + body):
        with socket.create_connection(address) as connection:
            connection.sendall(sent)
            # an abrupt end: reset, not closed
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        check_it_still_answers(agent)


def test_many_wrong_requests_on_one_connection(agent: httpx.Client) -> None:
    """HTTP/1.1 keep-alive: a refused body is read to its end, so that the next request is found."""
    with socket.create_connection((agent.base_url.host, agent.base_url.port)) as connection:
        body, length = message(BINARY_X | {"datatype": "BYTES"})
        head = raw_head(body, length)
        with connection.makefile("rb") as answers:
            for _ in range(5):
                connection.sendall(head + body)
                assert answers.readline() == b"HTTP/1.1 400 Bad Request\r\n"
                length_of_answer = 0
                while (line := answers.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length_of_answer = int(line.partition(b":")[2])
                assert b"BYTES" in answers.read(length_of_answer)
