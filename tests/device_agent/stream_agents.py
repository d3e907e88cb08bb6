"""Agents that listen and serve small streaming files, and WebSockets to them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from device_agent.agent import Agent, open_agent
from device_agent.settings import Settings
from edge_s4op.artifact import Artifact, Preprocessing
from tests.device_agent.agent_requests import serve
from tests.device_agent.live import live
from tests.edge_s4op.stream_samples import CHANNELS, FLOATS, TOKENS, WEIGHT, stream_artifact, stream_manifest

LABELLED = stream_manifest(FLOATS).model_copy(
    update={
        "class_labels": ("low", "high"),
        "preprocessing": Preprocessing(mean=(1.0, 2.0, 3.0), std=(2.0, 2.0, 2.0)),
    }
)


def floats() -> Artifact:
    """Logits: the sum of x WEIGHT over the samples so far."""
    return stream_artifact(stream_manifest(FLOATS))


def tokens() -> Artifact:
    """Logits: the sum of the tokens' rows of TABLE."""
    return stream_artifact(stream_manifest(TOKENS))


def labelled() -> Artifact:
    """As `floats`, with labels, mean and deviation."""
    return stream_artifact(LABELLED)


def samples(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, CHANNELS), np.float32)


def sums(x: np.ndarray) -> np.ndarray:
    """What `floats` answers after x (T, CHANNELS)."""
    return (x @ WEIGHT).sum(0)


@contextlib.contextmanager
def streaming_agent(folder: Path, **settings: object) -> Iterator[tuple[Agent, httpx.Client]]:
    """An agent that serves `floats` as "m" and `tokens` as "tokens"."""
    agent = open_agent(Settings(data_dir=folder / "data", device_lock=folder / "device.lock", **settings))
    with live(agent) as http:
        assert serve(http, "m", floats(), max_batch=8).status_code == 200
        assert serve(http, "tokens", tokens()).status_code == 200
        yield agent, http


@contextlib.contextmanager
def open_socket(
    http: httpx.Client, address: str = "m/stream", **options: object
) -> Iterator[ClientConnection]:
    """A WebSocket to /v2/models/{address}."""
    url = str(http.base_url).rstrip("/").replace("http", "ws", 1)
    with connect(f"{url}/v2/models/{address}", proxy=None, **options) as socket:
        yield socket


def asked(socket: ClientConnection, message: object) -> dict:
    """The answer to a frame: bytes and text go as they are, arrays as bytes, the rest as JSON."""
    socket.send(encoded(message))
    return json.loads(socket.recv(20))


def encoded(message: object) -> str | bytes:
    if isinstance(message, np.ndarray):
        return message.tobytes()
    return message if isinstance(message, str | bytes) else json.dumps(message)


def closing(socket: ClientConnection) -> tuple[int, str]:
    """Code and reason with which the agent closes the WebSocket."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            socket.recv(20)
    return socket.close_code, socket.close_reason
