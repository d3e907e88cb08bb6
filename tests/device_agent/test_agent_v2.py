"""/v2 as bytes on the wire: content types, compression, bodies without JSON, variants, sequences."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from device_agent.app import create_app
from device_agent.bodies import BodyRoom
from device_agent.errors import RequestError
from device_agent.scheduler import Answered, Wanted
from device_agent.settings import Settings
from device_agent.v2.parameters import Sequence
from edge_s4op.tensors_binary import binary_from_array, header_length_of
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import serve
from tests.device_agent.conftest import TestClient
from tests.device_agent.malformed import BINARY_X, DATA, HEADER, INFER, JSON_X, message

DOUBLED = np.array([[2, 4, 6]], dtype="<f4").tobytes()


@pytest.fixture
def served(http: httpx.Client) -> httpx.Client:
    assert serve(http, "m", scaling_artifact(2.0)).status_code == 200
    return http


def parts_of(answer: httpx.Response) -> tuple[dict[str, Any], bytes]:
    end = header_length_of(answer.headers.get_list(HEADER), len(answer.content))
    return json.loads(answer.content[:end]), b"" if end is None else answer.content[end:]


def test_json_is_answered_as_json(served: httpx.Client) -> None:
    answer = served.post(INFER, json={"inputs": [JSON_X], "outputs": [{"name": "y"}]})
    assert answer.headers["Content-Type"] == "application/json"
    assert HEADER not in answer.headers
    assert answer.json() == {
        "model_name": "m",
        "model_version": "1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2, 4, 6]}],
    }


def test_binary_is_answered_as_bytes_behind_json(served: httpx.Client) -> None:
    body, length = message(BINARY_X, parameters={"binary_data_output": True}, outputs=[{"name": "y"}])
    answer = served.post(INFER, content=body, headers={HEADER: str(length)})
    assert answer.headers["Content-Type"] == "application/octet-stream"
    header, data = parts_of(answer)
    output = {"name": "y", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
    assert header["outputs"] == [output]
    assert data == DOUBLED


@pytest.mark.parametrize(("of_all", "of_y"), [(True, False), (False, True), (None, True), (True, None)])
def test_an_output_overrides_what_holds_for_all(
    served: httpx.Client, of_all: bool | None, of_y: bool | None
) -> None:
    request: dict[str, Any] = {"inputs": [JSON_X], "outputs": [{"name": "y"}, {"name": "z"}]}
    if of_all is not None:
        request["parameters"] = {"binary_data_output": of_all}
    if of_y is not None:
        request["outputs"][0]["parameters"] = {"binary_data": of_y}
    header, _ = parts_of(served.post(INFER, json=request))
    y, z = header["outputs"]
    assert ("data" in y) == (not (of_all if of_y is None else of_y))
    assert ("data" in z) == (not of_all)


def test_a_body_without_json_is_the_one_input(served: httpx.Client) -> None:
    header, data = parts_of(served.post(INFER, content=DATA, headers={HEADER: "0"}))
    assert [output["name"] for output in header["outputs"]] == ["y", "z"]
    assert data[:12] == DOUBLED
    assert len(data) == 24


@pytest.mark.parametrize(
    ("accepts", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate;q=0.5, gzip;q=0.8", "gzip"),
        ("gzip;q=0.5, deflate", "deflate"),
        ("GZIP ; q=1.0", "gzip"),
        ("identity, gzip", None),
        ("gzip;q=0", None),
        ("gzip;q=much", None),
        ("br, zstd", None),
        ("*", None),
        ("", None),
    ],
)
def test_an_answer_is_compressed_as_the_client_accepts(
    served: httpx.Client, accepts: str, encoding: str | None
) -> None:
    x = np.zeros((1000, 3), dtype=np.float32)
    tensor = JSON_X | {"shape": [1000, 3], "data": x.ravel().tolist()}
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}, "outputs": [{"name": "y"}]}
    with served.stream("POST", INFER, json=request, headers={"Accept-Encoding": accepts}) as answer:
        raw = b"".join(answer.iter_raw())
        plain = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[encoding](raw)
        assert answer.headers.get("Content-Encoding") == encoding
        assert answer.headers["Content-Length"] == str(len(raw))
        assert plain[int(answer.headers[HEADER]) :] == x.tobytes()


def test_a_short_answer_is_not_worth_compressing(served: httpx.Client) -> None:
    answer = served.post(INFER, json={"inputs": [JSON_X]}, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer.headers


def test_a_large_request_is_answered_as_a_small_one(served: httpx.Client) -> None:
    """It is read and written in another thread."""
    x = np.random.default_rng(0).standard_normal((20_000, 3), dtype=np.float32)
    tensor, data = binary_from_array("x", x)
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = served.post(INFER, content=header + bytes(data), headers={HEADER: str(len(header))})
    _, outputs = parts_of(answer)
    assert outputs == (2 * x).tobytes() + (-2 * x).tobytes()
    answer = served.post(INFER, content=header + bytes(data)[:-1], headers={HEADER: str(len(header))})
    assert (answer.status_code, "cut off" in answer.json()["error"]) == (400, True)


def test_an_id_that_is_no_unicode_comes_back_as_it_came(served: httpx.Client) -> None:
    body = b'{"id": "\\ud800", "inputs": [%s]}' % json.dumps(JSON_X).encode()
    assert served.post(INFER, content=body).json()["id"] == "\ud800"


def with_agent(submit: Callable[[Wanted], Future[Answered]], **more: object) -> TestClient:
    """The application over an agent whose model "m" is `submit`."""
    manifest = scaling_artifact().manifest
    model = SimpleNamespace(name="m", manifest=manifest, submit=submit, refuse_if_full=lambda: None)
    agent = SimpleNamespace(
        serving=SimpleNamespace(model=lambda name: model),
        settings=Settings(),
        body_room=BodyRoom(1 << 20),
        **more,
    )
    return TestClient(create_app(agent), raise_server_exceptions=False)  # not entered: nothing is started


def answered(outputs: Mapping[str, np.ndarray], variant: str | None) -> Answered:
    return Answered(dict(outputs), variant, queue_ns=0, infer_ns=0, batch=1)


def test_an_answer_names_the_variant_that_gave_it() -> None:
    future: Future[Answered] = Future()
    future.set_result(answered({"y": np.zeros((1, 3), dtype=np.float32)}, "keep-0.30"))
    answer = with_agent(lambda wanted: future).post(
        INFER, json={"inputs": [JSON_X], "outputs": [{"name": "y"}]}
    )
    assert answer.json()["parameters"] == {"variant": "keep-0.30"}
    assert answer.headers["s4op-variant"] == "keep-0.30"


@pytest.mark.parametrize(
    ("parameters", "priority", "timeout_s"),
    [({}, 0, None), ({"priority": 0, "timeout": 0}, 0, None), ({"priority": 2, "timeout": 1500}, 2, 0.0015)],
)
def test_priority_and_timeout_reach_the_scheduler(
    parameters: dict[str, int], priority: int, timeout_s: float | None
) -> None:
    seen: list[Wanted] = []

    def submit(wanted: Wanted) -> Future[Answered]:
        seen.append(wanted)
        future: Future[Answered] = Future()
        future.set_result(answered({"y": wanted.feeds["x"], "z": wanted.feeds["x"]}, None))
        return future

    request = {"inputs": [JSON_X], "parameters": parameters}
    assert with_agent(submit).post(INFER, json=request).status_code == 200
    assert [(wanted.priority, wanted.timeout_s) for wanted in seen] == [(priority, timeout_s)]


@pytest.mark.parametrize("status", [429, 503])
def test_who_is_refused_is_told_when_to_come_back(status: int) -> None:
    def refuse(wanted: Wanted) -> Future[Answered]:
        raise RequestError("the queue is full", status_code=status, retry_after_s=3)

    answer = with_agent(refuse).post(INFER, json={"inputs": [JSON_X]})
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "3")
    assert answer.json() == {"error": "the queue is full"}


SEQUENCE = {"sequence_id": 7, "sequence_start": True, "sequence_end": False}


class Echo:
    """Sequences that answer with what they were fed."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    async def infer(self, name: str, sequence: Sequence, wanted: Wanted) -> Answered:
        self.seen.append((name, sequence, wanted.priority, wanted.timeout_s))
        return answered({"y": wanted.feeds["x"], "z": wanted.feeds["x"]}, None)


@pytest.mark.parametrize(
    ("parameters", "seen"),
    [
        (SEQUENCE, ("m", Sequence(7, True, False), 0, None)),
        ({"sequence_id": 2**64 - 1, "priority": 3}, ("m", Sequence(2**64 - 1, False, False), 3, None)),
        ({"sequence_id": "a", "sequence_end": True}, ("m", Sequence("a", False, True), 0, None)),
        (SEQUENCE | {"timeout": 9}, ("m", Sequence(7, True, False), 0, 9e-6)),
    ],
)
def test_a_sequence_is_handed_to_who_keeps_its_state(
    parameters: dict[str, Any], seen: tuple[object, ...]
) -> None:
    def no(wanted: Wanted) -> Future[Answered]:
        raise AssertionError("a sequence is no single request")

    sequences = Echo()
    answer = with_agent(no, sequences=sequences).post(
        INFER, json={"inputs": [JSON_X], "parameters": parameters}
    )
    assert answer.status_code == 200, answer.text
    assert sequences.seen == [seen]
