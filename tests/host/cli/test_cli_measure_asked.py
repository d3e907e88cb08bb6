"""What `s4op measure` is asked beside the latency, answered by a real agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_s4op.artifact import sha256_of
from tests.device_agent.agent_helpers import AgentProcess
from tests.host.cli.cli_samples import Capture, succeed, succeed_json
from tests.host.cli.test_cli_measure import FAST


def test_a_model_against_itself_is_compared_and_the_comparison_can_be_verified(
    capsys: Capture, model_file: Path, agent: AgentProcess, tmp_path: Path
) -> None:
    files = ["--samples", tmp_path / "s.txt", "--certificate", tmp_path / "c.json"]
    words = ["measure", model_file, "--agent", agent.url, *FAST, "--max-duration-ms", 300]
    comparison = succeed_json(capsys, *words, "--baseline", model_file, *files)["comparison"]
    assert comparison["verdict"] in ("faster", "slower", "not resolved")
    assert comparison["baseline_sha256"] == sha256_of(model_file.read_bytes())
    assert comparison["interval"]["low"] <= comparison["ratio"] <= comparison["interval"]["high"]
    verify = ["measure", model_file, "--samples", tmp_path / "s.txt", "--verify", tmp_path / "c.json"]
    checks = {check["name"]: check["outcome"] for check in succeed_json(capsys, *verify)["checks"]}
    assert checks["baseline samples"] == checks["comparison"] == "ok"
    assert set(checks.values()) == {"ok"}


def test_a_comparison_is_told_in_a_sentence(capsys: Capture, model_file: Path, agent: AgentProcess) -> None:
    words = ["measure", model_file, "--agent", agent.url, *FAST, "--baseline", model_file]
    shown = " ".join(succeed(capsys, *words).split())
    assert f"{model_file.name}: " in shown
    assert "times its median (95 % interval" in shown


@pytest.mark.parametrize(("deadline_ms", "share"), [(60_000, 0.0), (1e-6, 1.0)])
def test_a_deadline_is_answered(
    capsys: Capture, model_file: Path, agent: AgentProcess, deadline_ms: float, share: float
) -> None:
    words = ["measure", model_file, "--agent", agent.url, *FAST, "--deadline-ms", deadline_ms]
    deadline = succeed_json(capsys, *words)["deadline"]
    assert (deadline["deadline_ms"], deadline["share"]) == (deadline_ms, share)


def test_rebuilds_give_a_median_each(capsys: Capture, model_file: Path, agent: AgentProcess) -> None:
    words = ["measure", model_file, "--agent", agent.url, *FAST, "--rebuilds", 2]
    measured = succeed_json(capsys, *words)
    assert len(measured["rebuilds"]["medians_ms"]) == 2
    assert measured["rebuilds"]["medians_ms"][0] == measured["latency_ms"]["median"]


def test_layers_are_timed_unless_that_is_not_wanted(
    capsys: Capture, model_file: Path, agent: AgentProcess
) -> None:
    words = ["measure", model_file, "--agent", agent.url, *FAST]
    layers = succeed_json(capsys, *words)["layers"]
    assert sum(layer["share"] for layer in layers["layers"]) == pytest.approx(1)
    assert succeed_json(capsys, *words, "--no-layers")["layers"] is None
    shown = succeed(capsys, *words)
    assert all(layer["name"] in shown for layer in layers["layers"])


def test_how_steady_it_was_is_told(capsys: Capture, model_file: Path, agent: AgentProcess) -> None:
    words = ["measure", model_file, "--agent", agent.url, *FAST]
    shown = succeed(capsys, *words)
    assert "settled" in shown
    assert "outlier" in shown
    assert "memory" in shown
