"""AgentClient where no agent answers: nobody, another service, or one that is busy."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from edge_s4op.client import AgentClient, RetryPolicy
from edge_s4op.errors import AgentProtocolError, AgentRefusedError, AgentUnreachableError, UsageError
from edge_s4op.messages import ServeRequest
from tests.edge_s4op.client_samples import ARTIFACT, QUICK
from tests.edge_s4op.servers import file_server, fixed_server, json_answer

AT_ONCE = RetryPolicy(retries=0)


CALLS: dict[str, Callable[[AgentClient], object]] = {
    "health": lambda client: client.health(),
    "device": lambda client: client.device(),
    "artifacts": lambda client: client.artifacts(),
    "put_artifact": lambda client: client.put_artifact(ARTIFACT),
    "submit": lambda client: client.submit(QUICK),
    "job": lambda client: client.job("1"),
    "jobs": lambda client: client.jobs(),
    "wait": lambda client: client.wait("1"),
    "samples": lambda client: client.samples("1"),
    "certificate": lambda client: client.certificate("1"),
    "prioritise": lambda client: client.prioritise("1", 2),
    "cancel": lambda client: client.cancel("1"),
    "measure": lambda client: client.measure(ARTIFACT, QUICK),
    "serve": lambda client: client.serve("m", ServeRequest(artifact_sha256=ARTIFACT.sha256)),
    "unserve": lambda client: client.unserve("m"),
    "served": lambda client: client.served(),
    "infer": lambda client: client.infer("m", {"x": np.ones((1, 3), dtype=np.float32)}),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_file_server_is_no_agent(tmp_path: Path, call: str) -> None:
    with file_server(tmp_path) as url, AgentClient.connect(url, retry=AT_ONCE) as client:
        with pytest.raises(AgentProtocolError, match="does not answer as a device agent") as caught:
            CALLS[call](client)
        assert url in str(caught.value)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        json_answer("200 OK", "[1, 2"),
        json_answer("200 OK", '{"hello": "world"}'),
        json_answer("200 OK", '"text"'),
        json_answer("302 Found", ""),
        json_answer("404 Not Found", '{"detail": "Not Found"}'),
        json_answer("500 Internal Server Error", '{"error": {"code": 7}}'),
    ],
    ids=["no HTTP", "no JSON", "other JSON", "text", "redirect", "other 404", "other 500"],
)
def test_another_service_is_no_agent(call: str, answer: bytes) -> None:
    with (
        fixed_server(answer) as (url, _),
        AgentClient.connect(url, retry=AT_ONCE) as client,
        pytest.raises(AgentProtocolError),
    ):
        CALLS[call](client)


def test_nobody_listens() -> None:
    client = AgentClient.connect("http://127.0.0.1:9", retry=RetryPolicy(retries=1, first_delay_s=0.01))
    with pytest.raises(AgentUnreachableError, match=r"127\.0\.0\.1:9"):
        client.device()


def test_a_server_that_hangs_up_is_unreachable_after_retries() -> None:
    retry = RetryPolicy(retries=2, first_delay_s=0.01)
    with fixed_server(b"") as (url, count), AgentClient.connect(url, retry=retry) as client:
        with pytest.raises(AgentUnreachableError):
            client.device()
        assert count == [3]


def test_a_server_that_never_answers_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = AgentClient.connect(url, timeout_s=0.2, retry=AT_ONCE)
        with pytest.raises(AgentUnreachableError, match="timed out"):
            client.device()


SHORT = {"name": "y", "datatype": "FP32", "shape": [2], "data": []}


@pytest.mark.parametrize("outputs", [None, [1], [{}], [SHORT]])
def test_unreadable_outputs_are_a_protocol_error(outputs: object) -> None:
    body = json.dumps({"outputs": outputs})
    with (
        fixed_server(json_answer("200 OK", body)) as (url, _),
        AgentClient.connect(url) as client,
        pytest.raises(AgentProtocolError, match="outputs"),
    ):
        CALLS["infer"](client)


def test_a_busy_agent_is_asked_again_and_then_believed() -> None:
    busy = json_answer("503 Service Unavailable", '{"error": "the device is busy"}')
    busy = busy.replace(b"\r\n\r\n", b"\r\nRetry-After: 2\r\nConnection: close\r\n\r\n")
    pauses: list[float] = []
    with fixed_server(busy) as (url, count):
        client = AgentClient(httpx.Client(base_url=url, trust_env=False), sleep=pauses.append)
        with pytest.raises(AgentRefusedError, match="the device is busy") as caught:
            CALLS["infer"](client)
        assert caught.value.status_code == 503
        assert pauses == [2, 2, 2, 2]
        assert count == [5]
        assert client.health() is False
        assert count == [6]


@pytest.mark.parametrize("url", ["jetson:8600", "ftp://jetson", "http://", "", "http://[::1", "http://a:b"])
def test_a_bad_address_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="http://HOST:PORT"):
        AgentClient.connect(url)
