"""The serving benchmarks' load generator: it counts what came, sees what is wrong, sends when it should."""

from __future__ import annotations

import json
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from benchmarks import overload, serving
from benchmarks.serving_load import Answer, Load, Plan, generate, percentile_ms
from benchmarks.serving_processes import resident_bytes
from benchmarks.serving_wire import PLAIN_JSON, V2_BINARY, V2_JSON, Wire, requests_of, wrong_answers
from edge_s4op.runtime import open_runner
from edge_s4op.tensors import array_from_json, json_from_array
from edge_s4op.tensors_binary import HEADER_LENGTH, arrays_from_message, binary_from_array

INPUTS = [np.full((1, 3, 1), k, np.float32) for k in (1, 2, 5)]
EXPECTED = [np.array([[3.0, -6.0]]) * x[0, 0, 0] for x in INPUTS]

Answering = Callable[[bytes, int], tuple[int, bytes]]  # body, number of the request


@contextmanager
def server(answering: Answering) -> Iterator[tuple[int, list[bytes]]]:
    """A tiny HTTP server; yields its port and the bodies it got."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet: Nagle's algorithm holds a second one back

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(body)
            status, answer = answering(body, len(bodies))
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    httpd = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield httpd.server_address[1], bodies
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def linear(body: bytes, number: int) -> tuple[int, bytes]:
    """logits = sum of the input times (1, -2)."""
    total = sum(json.loads(body)["data"])
    return 200, json.dumps({"logits": [[total, -2 * total]]}).encode()


def load_of(answering: Answering, clients: int = 3, **options: float) -> tuple[Load, list[bytes]]:
    with server(answering) as (port, bodies):
        plan = Plan(
            port,
            requests_of(PLAIN_JSON, "/predict", INPUTS),
            clients,
            **{"duration_s": 0.4, "warmup_s": 0.0, "keep_every": 1, **options},
        )
        return generate(plan), list(bodies)


def test_every_answer_is_counted_once_and_belongs_to_its_request():
    load, bodies = load_of(linear)
    assert 0 < len(load.accepted_ms) <= len(bodies) <= len(load.accepted_ms) + 3  # three may be under way
    assert (load.accepted_ms > 0).all()
    assert load.accepted_per_s == pytest.approx(len(load.accepted_ms) / 0.4)
    assert len(load.kept) == len(load.accepted_ms)
    assert {answer.request for answer in load.kept} == {0, 1, 2}
    assert wrong_answers(PLAIN_JSON, load.kept, EXPECTED) == 0
    assert (len(load.refused_ms), load.others) == (0, {})
    assert 0 < load.cpu_share <= 1.5


def test_the_warm_up_is_not_counted():
    load, bodies = load_of(linear, warmup_s=0.4, duration_s=0.1)
    assert 0 < len(load.accepted_ms) < len(bodies) - 3


def test_refusals_and_failures_are_told_apart():
    def moody(body: bytes, number: int) -> tuple[int, bytes]:
        return {0: (503, b"full"), 1: (429, b"full"), 2: (500, b"")}.get(number % 4) or linear(body, number)

    load, _ = load_of(moody)
    assert min(len(load.accepted_ms), len(load.refused_ms)) > 0
    assert set(load.others) == {500}
    assert load.refused is not None
    assert load.refused.content.endswith(b"full")
    with pytest.raises(AssertionError, match=r"someone: answers with status \{500"):
        serving.checked(load, PLAIN_JSON, EXPECTED, "someone")


def test_a_connection_the_server_ends_is_a_failure_and_is_opened_again():
    load, _ = load_of(lambda body, number: (0, b"") if number % 3 == 0 else linear(body, number))
    assert load.others[0] > 0
    assert wrong_answers(PLAIN_JSON, load.kept, EXPECTED) == 0


def test_one_wrong_answer_in_ten_is_seen():
    def careless(body: bytes, number: int) -> tuple[int, bytes]:
        return linear(body, number) if number % 10 else (200, b'{"logits": [[3.0, -6.1]]}')

    load, _ = load_of(careless)
    assert 0 < wrong_answers(PLAIN_JSON, load.kept, EXPECTED) < len(load.kept)
    with pytest.raises(AssertionError, match="are wrong"):
        serving.checked(load, PLAIN_JSON, EXPECTED, "someone")


def test_answers_of_the_wrong_input_are_seen():
    first = linear(json.dumps({"data": [1, 1, 1]}).encode(), 0)
    load, _ = load_of(lambda body, number: first)
    wrong = sum(answer.request != 0 for answer in load.kept)
    assert wrong_answers(PLAIN_JSON, load.kept, EXPECTED) == wrong > 0


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"logits": 3}', b'{"logits": [[3.0]]}', b"\xff"])
def test_a_body_without_the_logits_is_wrong(body: bytes):
    answer = Answer(0, b"HTTP/1.1 200 OK\r\n\r\n" + body)
    assert wrong_answers(PLAIN_JSON, [answer], EXPECTED) == 1


def test_an_open_loop_sends_at_its_rate_whatever_the_server_does():
    load, bodies = load_of(linear, clients=8, rate_per_s=150.0, duration_s=1.0)
    assert 50 < len(bodies) < 200  # 150 are due; a machine that stalls sends the last ones too late
    assert load.accepted_ms.size <= len(bodies)


def test_waiting_for_a_connection_counts_in_an_open_loop():
    release = threading.Event()

    def slow(body: bytes, number: int) -> tuple[int, bytes]:
        release.wait(0.05)
        return linear(body, number)

    load, _ = load_of(slow, clients=1, rate_per_s=100.0, duration_s=1.0)
    # One request takes 50 ms, five are due meanwhile: the last ones have waited for most of the second.
    assert load.accepted_ms.max() > 300
    assert np.median(load.accepted_ms) > 100


def test_nothing_listening_is_an_error():
    with server(linear) as (port, _):
        pass
    with pytest.raises(ConnectionError):
        generate(Plan(port, requests_of(PLAIN_JSON, "/", INPUTS), 1, 0.1))


def test_percentiles_are_samples_as_trtexec_takes_them():
    shuffled_ms = np.random.default_rng(0).permutation(np.arange(1000.0))
    assert [percentile_ms(shuffled_ms, p) for p in (50, 99, 100)] == [499.0, 989.0, 999.0]
    assert np.isnan(percentile_ms(np.array([]), 50))


@pytest.mark.parametrize("wire", [V2_JSON, V2_BINARY])
def test_the_protocols_requests_hold_the_input_and_answers_are_read_back(wire: Wire):
    (request,) = requests_of(wire, "/v2/models/m/infer", INPUTS[1:2])
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v2/models/m/infer HTTP/1.1\r\n")
    length = int(_header(head, HEADER_LENGTH) or len(body))
    tensors = json.loads(body[:length])["inputs"]
    found = dict(arrays_from_message(tensors, memoryview(body)[length:]))
    np.testing.assert_array_equal(found["input"], INPUTS[1])
    answer = Answer(1, _answer(wire, EXPECTED[1].astype(np.float32)))
    assert wrong_answers(wire, [answer], EXPECTED) == 0
    assert wrong_answers(wire, [answer], EXPECTED[::-1]) == 0  # the middle one
    assert wrong_answers(wire, [Answer(2, answer.content)], EXPECTED) == 1


def test_the_benchmarks_inputs_have_logits_that_tell_them_apart():
    runner = open_runner(serving.artifact_of("large"), "onnxruntime", threads=1)
    inputs, expected = serving.inputs_of(runner)
    plain = [
        Answer(k, b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"logits": y.tolist()}).encode())
        for k, y in enumerate(expected)
    ]
    assert wrong_answers(PLAIN_JSON, plain, expected) == 0
    moved = [Answer((answer.request + 1) % len(inputs), answer.content) for answer in plain]
    assert wrong_answers(PLAIN_JSON, moved, expected) == len(inputs)


def test_growth_is_the_slope_and_forgets_the_beginning():
    steady = [(k * 0.25, 100.0 + (30.0 if k < 8 else 50.0)) for k in range(100)]
    assert overload.growth_mib(steady) == pytest.approx(0.0, abs=1e-6)
    growing = [(k * 0.25, 100.0 + k * 0.1) for k in range(101)]
    assert overload.growth_mib(growing) == pytest.approx(10.0)


def test_a_leak_is_seen_from_outside():
    before, size = resident_bytes(os.getpid()), 64 << 20
    with mmap.mmap(-1, size) as held:  # what malloc gives may be resident already
        held.write(bytes(range(256)) * (size // 256))
        assert resident_bytes(os.getpid()) - before > size / 2


def _header(head: bytes, name: str) -> str | None:
    for line in head.decode().split("\r\n")[1:]:
        key, _, value = line.partition(": ")
        if key == name:
            return value
    return None


def _answer(wire: Wire, logits: np.ndarray) -> bytes:
    if wire is V2_JSON:
        tensor = json_from_array("logits", logits)
        assert array_from_json(tensor)[0] == "logits"
        return b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"outputs": [tensor]}).encode()
    described, data = binary_from_array("logits", logits)
    header = json.dumps({"outputs": [described]}).encode()
    head = f"HTTP/1.1 200 OK\r\n{HEADER_LENGTH}: {len(header)}\r\nServer: x\r\n\r\n"
    return head.encode() + header + bytes(data)
