"""One agent process, one trained model and one family of pruned models for all tests of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from host.cli.main import run
from tests.device_agent.agent_helpers import AgentProcess, agent_process
from tests.host.cli.cli_samples import QUICK, TINY, save_npz


@pytest.fixture(autouse=True)
def _no_agent_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S4OP_AGENT", raising=False)


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with agent_process(tmp_path_factory.mktemp("agent") / "data") as process:
        yield process


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny dataset."""
    return save_npz(tmp_path_factory.mktemp("data") / "sines.npz")


@pytest.fixture(scope="session")
def checkpoint(spec: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model trained on it."""
    out = tmp_path_factory.mktemp("trained")
    assert run(["train", spec, "--out", str(out), *TINY]) == 0
    return out / "model"


@pytest.fixture(scope="session")
def model_file(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as an ONNX file."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    assert run(["export", str(checkpoint), "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="session")
def family(checkpoint: Path, agent: AgentProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search: two rates, two candidates each."""
    out = tmp_path_factory.mktemp("pruned") / "search"
    options = ["--agent", agent.url, "--rates", "0.3,0.6", "--candidates", "2", *QUICK]
    assert run(["prune", str(checkpoint), "--out", str(out), *options]) == 0
    return out
