"""An agent on a temporary folder, and its application in this process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_agent.agent import open_agent
from device_agent.app import create_app
from device_agent.device import Device
from device_agent.lease import DeviceLease
from device_agent.settings import Settings
from edge_s4op.profiler.device_lock import DEVICE_LOCK_VARIABLE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette wants httpx2, which AgentClient does not use
    from fastapi.testclient import TestClient

Start = Callable[..., TestClient]


@pytest.fixture(autouse=True)
def _own_device_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents of a test share one machine, and not with whatever else measures on it."""
    monkeypatch.setenv(DEVICE_LOCK_VARIABLE, str(tmp_path / "device.lock"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an agent: start(device=..., lease=..., max_body_bytes=...); all end with the test."""
    clients = []

    def started(
        *, device: Device | None = None, lease: DeviceLease | None = None, **settings: object
    ) -> TestClient:
        settings.setdefault("data_dir", tmp_path / "data")
        agent = open_agent(Settings(**settings), device, lease)
        client = TestClient(create_app(agent), raise_server_exceptions=False)
        clients.append(client)
        return client.__enter__()

    yield started
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def http(start: Start) -> TestClient:
    return start()
