"""What is wrong with a stream closes its WebSocket with a code and a reason, and harms nobody else."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket as sockets
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from device_agent.agent import Agent
from edge_s4op.messages import ServeRequest
from tests.device_agent.agent_helpers import agent_process, scaling_artifact
from tests.device_agent.agent_requests import first_output, infer, serve, upload
from tests.device_agent.fakes import wait_until
from tests.device_agent.stream_agents import (
    LABELLED,
    asked,
    closing,
    encoded,
    floats,
    labelled,
    open_socket,
    samples,
    streaming_agent,
    sums,
)
from tests.edge_s4op.stream_samples import stream_artifact

Running = tuple[Agent, httpx.Client]
ONE = [[1, 2, 3]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with streaming_agent(tmp_path_factory.mktemp("refused")) as running:
        assert serve(running[1], "plain", scaling_artifact()).status_code == 200
        yield running


@pytest.fixture
def http(running: Running) -> httpx.Client:
    return running[1]


FRAMES: list[tuple[object, int, str]] = [
    ("", 1007, "no JSON"),
    ("{", 1007, "no JSON"),
    ("[" * 100_000, 1007, "no JSON"),
    ('{"samples": [[1, 2, NaN]]}', 1007, "NaN is no JSON number"),
    ('{"samples": [[1, 2, Infinity]]}', 1007, "Infinity is no JSON number"),
    ('{"samples": [[1, 2, 1e39]]}', 1007, "too large for float32"),
    ([], 1003, "no frame"),
    (5, 1003, "found int"),
    ({}, 1003, "empty frame"),
    ({"reset": False, "end": False}, 1003, "empty frame"),
    ({"samples": ONE, "sample": 1}, 1008, "unknown key; expected samples, reset, end; found 'sample'"),
    ({"samples": None}, 1007, "no samples"),
    ({"samples": []}, 1007, "no samples"),
    ({"samples": {}}, 1007, "no samples"),
    ({"samples": "1,2,3"}, 1007, "no samples"),
    ({"samples": [1, 2, 3]}, 1007, "expected lists of 3 numbers"),
    ({"samples": [[1, 2]]}, 1007, "expected nesting [1, 3]"),
    ({"samples": [[1, 2, 3], [4, 5]]}, 1007, "not nested"),
    ({"samples": [[1, 2, 3], 4]}, 1007, "not nested"),
    ({"samples": [[[1, 2, 3]]]}, 1007, "tensor 'samples'"),
    ({"samples": [[]]}, 1007, "tensor 'samples'"),
    ({"samples": [[1, 2, "3"]]}, 1007, "found str"),
    ({"samples": [[1, 2, None]]}, 1007, "found NoneType"),
    ({"samples": [[1, 2, True]]}, 1007, "found bool"),
    ({"samples": ONE, "reset": 1}, 1007, "reset has the wrong type"),
    ({"end": "yes"}, 1007, "end has the wrong type"),
    (b"", 1007, "found 0 bytes"),
    (b"abc", 1007, "expected 12 bytes a sample"),
    (np.array([1, 2, np.nan], "<f4"), 1007, "not finite"),
    (np.array([1, 2, np.inf], "<f4"), 1007, "not finite"),
    (b"\0" * ((1 << 20) + 12), 1009, "too large"),
    (" " * ((1 << 20) + 1), 1009, "too large"),
]
TOKEN_FRAMES: list[tuple[object, int, str]] = [
    ({"samples": [1.0]}, 1007, "found float"),
    ({"samples": [5]}, 1007, "out of range"),
    ({"samples": [-1]}, 1007, "out of range"),
    ({"samples": [2**63]}, 1007, "does not fit int64"),
    ({"samples": [[1]]}, 1007, "tensor 'samples'"),
    (np.array([1.0], "<f4"), 1007, "expected 8 bytes a sample"),
    (np.array([2**40], "<i8"), 1007, "out of range"),
]
ALL = [("m", *case) for case in FRAMES] + [("tokens", *case) for case in TOKEN_FRAMES]


@pytest.mark.parametrize(("model", "frame", "code", "reason"), ALL)
def test_a_wrong_frame_closes_its_stream_alone(
    running: Running, model: str, frame: object, code: int, reason: str
) -> None:
    agent, http = running
    x = samples(2)
    with open_socket(http) as other:
        asked(other, x[:1])
        with open_socket(http, f"{model}/stream") as socket:
            asked(socket, {"samples": ONE if model == "m" else [1]})
            socket.send(encoded(frame))
            found = closing(socket)
        assert (found[0], reason in found[1]) == (code, True), found
        assert len(found[1].encode()) <= 123
        wait_until(lambda: agent.streams.count == 1)
        answer = asked(other, x[1:])
        np.testing.assert_allclose(answer["outputs"]["logits"], sums(x), rtol=1e-5, atol=1e-5)
    assert first_output(infer(http, "plain")) == [2, 4, 6]
    wait_until(lambda: agent.streams.count == 0)


ADDRESSES = [
    ("unknown/stream", 4404, "no model 'unknown'"),
    ("plain/stream", 4400, "takes whole sequences"),
    ("m/stream?every=0", 4400, "bad option every"),
    ("m/stream?every=-1", 4400, "bad option every"),
    ("m/stream?every=1.5", 4400, "bad option every"),
    ("m/stream?every=" + "9" * 500, 4400, "bad option every"),
    ("m/stream?every=", 4400, "bad option every"),
    ("m/stream?every=%D9%A3", 4400, "bad option every"),
    ("m/stream?normalise=yes", 4400, "bad option normalise"),
    ("m/stream?normalise=1", 4400, "names no mean"),
    ("m/stream?format=xml", 4400, "bad option format"),
    ("m/stream?evry=2", 4400, "unknown or repeated option"),
    ("m/stream?priority=high", 4400, "bad option priority"),
    ("m/stream?priority=-1", 4400, "bad option priority"),
    ("m/stream?every=2&every=3", 4400, "unknown or repeated option"),
]


@pytest.mark.parametrize(("address", "code", "reason"), ADDRESSES)
def test_a_wrong_address_is_told(running: Running, address: str, code: int, reason: str) -> None:
    agent, http = running
    with open_socket(http, address) as socket:
        found = closing(socket)
    assert (found[0], reason in found[1]) == (code, True), found
    assert len(found[1].encode()) <= 123
    wait_until(lambda: agent.streams.count == 0)


def test_a_model_without_state_is_told_the_fix(http: httpx.Client) -> None:
    feeds = {"name": "input", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    answer = http.post("/v2/models/plain/infer", json={"inputs": [feeds], "parameters": {"sequence_id": 7}})
    assert answer.status_code == 400
    assert "s4op export --streaming" in answer.json()["error"]


def test_only_pages_of_the_agent_may_stream(http: httpx.Client) -> None:
    with open_socket(http, origin="http://elsewhere.example") as socket:
        assert closing(socket)[0] == 4403
    with open_socket(http, origin=str(http.base_url).rstrip("/")) as socket:
        assert asked(socket, samples(1))["samples"] == 1


def test_text_that_is_no_utf8_is_closed(running: Running) -> None:
    agent, http = running
    with open_socket(http) as socket:
        asked(socket, samples(1))
        socket.send(b"\xff\xfe", text=True)
        assert closing(socket)[0] == 1007
    wait_until(lambda: agent.streams.count == 0)


def test_bytes_that_are_no_websocket_end_it(running: Running) -> None:
    agent, http = running
    with open_socket(http) as socket:
        asked(socket, samples(1))
        socket.socket.sendall(b"\xff" * 64)
        assert closing(socket)[0] == 1002
    wait_until(lambda: agent.streams.count == 0)


def test_a_client_that_vanishes_is_freed(running: Running) -> None:
    agent, http = running
    with open_socket(http) as socket:
        asked(socket, samples(1))
        socket.socket.shutdown(sockets.SHUT_RDWR)
        wait_until(lambda: agent.streams.count == 0)


def test_a_stream_can_be_ended_by_its_id(running: Running) -> None:
    agent, http = running
    with open_socket(http) as socket, open_socket(http) as other:
        asked(socket, samples(1))
        stream_id = agent.streams.all()[0].id
        asked(other, samples(1))
        assert http.delete(f"/v1/streams/{stream_id}").status_code == 204
        assert closing(socket) == (4410, "ended by DELETE /v1/streams")
        assert asked(other, samples(1))["samples"] == 2
    answer = http.delete(f"/v1/streams/{stream_id}")
    assert answer.status_code == 404
    assert stream_id in answer.json()["error"]


def test_another_file_under_the_name_ends_its_streams(http: httpx.Client) -> None:
    assert serve(http, "changing", floats()).status_code == 200
    with open_socket(http, "changing/stream") as socket:
        asked(socket, samples(1))
        assert serve(http, "changing", labelled()).status_code == 200
        socket.send(samples(1).tobytes())
        assert closing(socket)[0] == 4409
    with open_socket(http, "changing/stream") as socket:
        asked(socket, samples(1))
        assert http.delete("/v1/models/changing").status_code == 204
        socket.send(samples(1).tobytes())
        assert closing(socket)[0] == 4404


def test_a_push_that_waits_while_its_file_is_replaced_is_not_mixed_up(running: Running) -> None:
    agent, http = running
    assert serve(http, "replaced", floats()).status_code == 200
    with open_socket(http, "replaced/stream") as socket:
        asked(socket, samples(1))
        old = agent.serving.model("replaced")
        with agent.lease.hold("measurement"):
            socket.send(samples(1).tobytes())
            wait_until(lambda: old.depth == 1)
            upload(http, labelled())
            request = ServeRequest(artifact_sha256=labelled().sha256)
            agent.serving.put("replaced", request, wait_s=0.01)
            wait_until(lambda: agent.serving.model("replaced") is not old)
        assert closing(socket)[0] == 4409


def test_a_name_of_several_models_has_no_streams(running: Running) -> None:
    agent, http = running
    agent.serving.attach("several", dataclasses.replace(agent.serving.model("m"), runner=None))
    with open_socket(http, "several/stream") as socket:
        code, reason = closing(socket)
    assert (code, "several models answer" in reason) == (4400, True)
    agent.serving.detach("several")


def test_streams_are_limited_in_number(tmp_path: Path) -> None:
    with streaming_agent(tmp_path, stream_limit=2) as (agent, http):
        with open_socket(http) as first, open_socket(http) as second:
            asked(first, samples(1))
            asked(second, samples(1))
            with open_socket(http) as third:
                code, reason = closing(third)
            assert (code, "2 streams are open" in reason) == (4503, True)
            assert asked(first, samples(1))["samples"] == 2
        wait_until(lambda: agent.streams.count == 0)
        with open_socket(http) as again:
            assert asked(again, samples(1))["samples"] == 1


def test_a_silent_client_is_closed_and_freed(tmp_path: Path) -> None:
    with streaming_agent(tmp_path, stream_idle_s=1) as (agent, http), open_socket(http) as socket:
        asked(socket, samples(1))
        assert closing(socket) == (1001, "no frame for 1 s")
        assert agent.streams.totals() == (0, 0)


def test_a_client_that_does_not_read_is_closed_and_freed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "device_agent.streams")
    wordy = LABELLED.model_copy(update={"class_labels": ("x" * 10_000, "y" * 10_000)})
    with streaming_agent(tmp_path, stream_idle_s=2) as (agent, http):
        assert serve(http, "wordy", stream_artifact(wordy)).status_code == 200
        with unread_socket(http, "wordy") as stalled, open_socket(http) as other:
            asked(other, samples(1))
            stalled.sendall(frame(bytes(12 * 4000)))  # 40 MB of answers: more than any buffer holds
            wait_until(lambda: agent.streams.count == 2)

            def is_freed_while_others_go_on() -> bool:
                asked(other, samples(1))
                return agent.streams.count == 1

            wait_until(is_freed_while_others_go_on, timeout_s=60)
        wait_until(lambda: "closed with 1008: answers have not been read for 2 s" in caplog.text)


@contextlib.contextmanager
def unread_socket(http: httpx.Client, model: str) -> Iterator[sockets.socket]:
    """A WebSocket to a model's stream?every=1 whose answers nobody reads, with little room for them."""
    with sockets.socket() as socket:
        socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        socket.connect((http.base_url.host, http.base_url.port))
        headers = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        socket.sendall(f"GET /v2/models/{model}/stream?every=1 HTTP/1.1\r\n{headers}{key}".encode())
        assert b" 101 " in socket.recv(64)
        yield socket


def frame(content: bytes) -> bytes:
    """A binary message (RFC 6455, 5.2), masked with zeros."""
    return b"\x82\xff" + len(content).to_bytes(8, "big") + bytes(4) + content


def test_a_device_that_stays_busy_ends_the_stream_as_busy(tmp_path: Path) -> None:
    settings = {"stream_idle_s": 1.5, "lease_wait_s": 0.05}
    with streaming_agent(tmp_path, **settings) as (agent, http), open_socket(http) as socket:
        asked(socket, samples(1))
        with agent.lease.hold("measurement 7"):
            socket.send(samples(1).tobytes())
            code, reason = closing(socket)
        assert (code, "measurement 7" in reason) == (1013, True)
        wait_until(lambda: agent.streams.count == 0)


def test_an_agent_that_stops_says_so(tmp_path: Path) -> None:
    with streaming_agent(tmp_path) as (agent, http), open_socket(http) as waiting:
        asked(waiting, samples(1))
        agent.stop()
        code, reason = closing(waiting)
        assert (code, "the agent stops" in reason) == (1012, True)
        with open_socket(http) as late:
            assert closing(late)[0] == 4503


def test_a_frame_under_way_is_answered_before_the_agent_stops(tmp_path: Path) -> None:
    with streaming_agent(tmp_path) as (agent, http), open_socket(http) as socket:
        asked(socket, samples(1))
        with agent.lease.hold("measurement"):
            socket.send(samples(1).tobytes())
            wait_until(lambda: agent.serving.model("m").depth == 1)
            agent.stop()
        assert json.loads(socket.recv(20))["samples"] == 2
        assert closing(socket)[0] == 1012


def test_a_process_told_to_stop_closes_its_streams_and_ends(tmp_path: Path) -> None:
    with agent_process(tmp_path / "data") as process, httpx.Client(base_url=process.url) as http:
        assert serve(http, "m", floats()).status_code == 200
        with open_socket(http) as socket:
            asked(socket, samples(1))
            process.process.terminate()
            assert closing(socket) == (1012, "the agent stops; connect again once it is back")
        assert process.process.wait(20) == 0
        assert "Traceback" not in process.log, process.log
