"""--backend reaches the agent; what it builds is seen while it works."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from edge_s4op.messages import (
    EngineInfo,
    Job,
    MeasurementRequest,
    ServedModel,
    ServeRequest,
)
from host.cli import progress
from host.measure_view.words import engine_words
from tests.device_agent.agent_helpers import AgentProcess
from tests.host.cli.cli_samples import QUICK, Capture, fail, succeed_json

SHA = "0" * 64


def test_a_named_backend_is_used(capsys: Capture, model_file: Path, agent: AgentProcess) -> None:
    options = ("--agent", agent.url, "--backend", "onnxruntime")
    measured = succeed_json(capsys, "measure", model_file, *options, *QUICK)
    assert measured["request"]["backend"] == "onnxruntime"
    served = succeed_json(capsys, "deploy", model_file, "--name", "named", "--max-batch", "4", *options)
    assert (served["serving"]["backend"], served["serving"]["max_batch"]) == ("onnxruntime", 4)


def test_how_requests_queue_is_what_was_asked_for(
    capsys: Capture, model_file: Path, agent: AgentProcess
) -> None:
    policy = {
        "max_batch": 8,
        "max_delay_ms": 2.5,
        "max_queue": 9,
        "instances": 2,
        "timeout_ms": 500.0,
        "priority_levels": 3,
    }
    options = [text for name, value in policy.items() for text in ("--" + name.replace("_", "-"), value)]
    served = succeed_json(capsys, "deploy", model_file, "--name", "queued", "--agent", agent.url, *options)
    assert {name: served["serving"][name] for name in policy} == policy
    code, line = fail(capsys, "deploy", model_file, "--name", "queued", "--max-queue", 0)
    assert code == 2
    assert "--max-queue" in line


@pytest.mark.parametrize("command", ["measure", "deploy", "prune"])
def test_a_backend_the_agent_does_not_know_is_refused(
    capsys: Capture, model_file: Path, checkpoint: Path, tmp_path: Path, agent: AgentProcess, command: str
) -> None:
    arguments = {
        "measure": [model_file],
        "deploy": [model_file, "--name", "x"],
        "prune": [checkpoint, "--out", tmp_path / "p"],
    }
    code, line = fail(
        capsys, command, *arguments[command], "--agent", agent.url, "--backend", "tensorr", lines=None
    )
    assert code == 1
    assert "unknown backend 'tensorr'" in line
    assert "did you mean tensorrt?" in line


def test_what_ran_on_tensorrt_is_told() -> None:
    engine = EngineInfo(
        engine_sha256=SHA,
        key="f" * 64,
        plugin=None,
        note="no SSMConv plugin found",
        cuda_graph=True,
        spin_wait=False,
    )
    assert engine_words(engine) == "engine ffffffffffff: no SSMConv plugin; no SSMConv plugin found"


@pytest.mark.parametrize("share", [0.25, None])
def test_a_terminal_shows_what_is_being_built(monkeypatch: pytest.MonkeyPatch, share: float | None) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "log", Console(file=screen, force_terminal=True, width=120))
    job = Job(
        id="1",
        state="running",
        request=MeasurementRequest(artifact_sha256=SHA),
        position=None,
        stage="building engine",
        progress=share,
        error=None,
        result=None,
        created_at="",
        finished_at=None,
    )
    with progress.measuring_bar("measuring m") as follow:
        follow(job)
    serving = ServeRequest(artifact_sha256=SHA)
    loading = ServedModel(name="m", serving=serving, ready=False, stage="loading engine", progress=share)
    with progress.deploying_bar("loading m") as follow_load:
        follow_load(loading)
    shown = screen.getvalue()
    assert "building engine" in shown
    assert "loading engine" in shown
    assert shown.count("25/100") >= (0 if share is None else 2)
    assert (shown.count("25/100") == 0) == (share is None)
