"""A search runs on one backend from its first measurement to its last, whatever the agent's default."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from device_agent.agent import open_agent
from device_agent.app import create_app
from device_agent.settings import Settings
from edge_s4op.client import AgentClient
from edge_s4op.errors import CheckpointError
from host.search import SearchProgress
from tests.device_agent.builder import BUILDS, Builder
from tests.host.search.search_samples import ONE, run_search, save_unpruned


@contextlib.contextmanager
def agent_on(backend: str, folder: Path) -> Iterator[AgentClient]:
    folder.mkdir(exist_ok=True)
    engines = Builder(folder, "time.sleep(1)\n" + BUILDS)  # the client looks five times a second
    agent = open_agent(Settings(data_dir=folder / "data", backend=backend), engines.device())
    with TestClient(create_app(agent), raise_server_exceptions=False) as http:
        yield AgentClient(http)


def test_the_agents_backend_is_the_searchs_and_stays_it(tmp_path: Path) -> None:
    save_unpruned(tmp_path / "unpruned")
    seen: list[SearchProgress] = []
    with agent_on("builder", tmp_path / "agent") as agent:
        family = run_search(tmp_path, agent, ONE, on_progress=seen.append)
    assert {trial.latency.backend for trial in family.trials} == {"builder"}
    assert "building engine" in {at.stage for at in seen if at.phase == "measure"}

    with (
        agent_on("onnxruntime", tmp_path / "agent") as agent,
        pytest.raises(CheckpointError, match="backends differ"),
    ):
        run_search(tmp_path, agent, ONE, resume=True)
