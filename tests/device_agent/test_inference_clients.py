"""Clients that send slowly, much, or leave: what that does to them, and to nobody else."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from device_agent import bodies
from device_agent.agent import open_agent
from device_agent.bodies import BodyRoom
from device_agent.device import Device, local_device
from device_agent.errors import RequestError
from device_agent.settings import Settings
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import infer, serve
from tests.device_agent.fakes import wait_until
from tests.device_agent.live import live
from tests.device_agent.malformed import INFER, JSON_X, refused
from tests.device_agent.runners import HeldRunner

ROOM_BYTES = 300_000


@contextlib.contextmanager
def an_agent(folder: Path, device: Device | None = None, **settings: object) -> Iterator[httpx.Client]:
    chosen = Settings(data_dir=folder / "data", device_lock=folder / "device.lock", **settings)
    with live(open_agent(chosen, device)) as http:
        assert serve(http, "m", scaling_artifact(2.0)).status_code == 200
        yield http


@contextlib.contextmanager
def begun(http: httpx.Client, announced: int, sent: bytes = b"") -> Iterator[socket.socket]:
    """A request of which only the head and `sent` have gone out."""
    head = f"POST {INFER} HTTP/1.1\r\nHost: here\r\nContent-Length: {announced}\r\n\r\n".encode()
    with socket.create_connection((http.base_url.host, http.base_url.port), timeout=20) as connection:
        connection.sendall(head + sent)
        yield connection


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(1 << 16).split()[1])


def test_a_silent_body_is_408_and_a_slow_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({"inputs": [JSON_X]}).encode()
    monkeypatch.setattr(bodies, "_IDLE_S", 0.4)
    with an_agent(tmp_path) as http:
        with begun(http, len(body), body[:10]) as connection:
            assert status_of(connection) == 408
        with begun(http, len(body)) as connection:
            for start in range(0, len(body), len(body) // 4):  # each pause is short, all together are not
                connection.sendall(body[start : start + len(body) // 4])
                wait_s = 0.15
                connection.settimeout(wait_s)
                with contextlib.suppress(TimeoutError):
                    answer = connection.recv(1 << 16)
            connection.settimeout(20)
            assert answer.split()[1] == b"200"


def test_large_bodies_fill_a_common_room_and_small_ones_need_none(tmp_path: Path) -> None:
    with an_agent(tmp_path, max_bodies_bytes=ROOM_BYTES) as http:
        with begun(http, ROOM_BYTES - 100_000, b"{"):
            wait_until(lambda: number(http, "s4op_inference_body_bytes") > 0)
            with begun(http, 150_000) as refused_one:
                assert status_of(refused_one) == 503
            answer = http.post(INFER, content=b" " * 150_000)
            assert refused(answer) == (
                503,
                f"bodies of other requests fill the {ROOM_BYTES} bytes kept for them; try again",
            )
            assert answer.headers["retry-after"] == "1"
            assert infer(http, "m").status_code == 200
        wait_until(lambda: number(http, "s4op_inference_body_bytes") == 0)
        assert http.post(INFER, content=b" " * 150_000).status_code == 400  # room, but no JSON
        assert http.post(INFER, content=b" " * (ROOM_BYTES + 1)).status_code == 400  # alone in the room
        assert number(http, "s4op_inference_body_bytes") == 0


def test_what_one_body_takes_grows_and_is_given_back_once() -> None:
    room = BodyRoom(200_000)
    with room.share() as first, room.share() as second:
        first(BodyRoom.FREE_BYTES)
        assert room.taken_bytes == 0
        first(100_000)
        first(120_000)
        assert room.taken_bytes == 120_000
        with pytest.raises(RequestError, match="200000 bytes"):
            second(80_001)
        second(80_000)
        assert room.taken_bytes == 200_000
    assert room.taken_bytes == 0


def test_who_leaves_while_waiting_is_taken_out_of_the_queue(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runner, here = HeldRunner(), local_device()
    device = Device(here.facts, here.backends, lambda *_: runner, here.measure)
    caplog.set_level(logging.INFO, logger="device_agent.requests")
    with an_agent(tmp_path, device, access_log=True) as http:
        runner.batches.clear()
        runner.wait_for_runs(runner.begun._value)  # those that warmed it
        runner.open.clear()
        body = json.dumps({"inputs": [JSON_X | {"data": [7, 0, 1]}]}).encode()
        with begun(http, len(body), body):
            runner.wait_for_runs(1)
            leaving = json.dumps({"inputs": [JSON_X | {"data": [8, 0, 1]}]}).encode()
            with begun(http, len(leaving), leaving):
                wait_until(lambda: number(http, "s4op_queue_depth") == 1)
            wait_until(lambda: "-> 499" in caplog.text)
            runner.open.set()
        assert infer(http, "m").status_code == 200
        assert runner.batches == [[7.0], [1.0]]


def test_a_full_queue_refuses_before_a_body_is_read(tmp_path: Path) -> None:
    runner, here = HeldRunner(), local_device()
    device = Device(here.facts, here.backends, lambda *_: runner, here.measure)
    with an_agent(tmp_path, device) as http:
        assert serve(http, "m", scaling_artifact(2.0), max_queue=1, max_batch=1).status_code == 200
        runner.wait_for_runs(runner.begun._value)  # those that warmed it
        runner.open.clear()
        body = json.dumps({"inputs": [JSON_X]}).encode()
        with begun(http, len(body), body) as running:
            runner.wait_for_runs(1)
            with begun(http, len(body), body) as waiting:
                wait_until(lambda: number(http, "s4op_queue_depth") == 1)
                answer = http.post(INFER, content=b"no JSON")
                what = "model 'm': its queue is full, 1 requests wait; try again in 1 s"
                assert refused(answer) == (503, what)
                assert answer.headers["retry-after"] == "1"
                with begun(http, 1 << 20, b"{") as large:  # of whose body the rest comes later
                    assert status_of(large) == 503
                    large.sendall(b" " * ((1 << 20) - 1))
                    large.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: here\r\n\r\n")
                    assert status_of(large) == 200
                runner.open.set()
                assert [status_of(each) for each in (running, waiting)] == [200, 200]
        assert http.post(INFER, content=b"no JSON").status_code == 400


def number(http: httpx.Client, metric: str) -> float:
    """The value of a metric without labels, or with one set of them."""
    (line,) = [line for line in http.get("/metrics").text.splitlines() if re.match(rf"{metric}[ {{]", line)]
    return float(line.split()[-1])
