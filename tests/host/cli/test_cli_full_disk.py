"""Writing fails as on a full disk: one line, and what was there before is still there."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.cli.main import run
from tests.device_agent.agent_helpers import AgentProcess
from tests.host.cli.cli_samples import QUICK, TINY, Capture, fail, full_disk, succeed, succeed_json

SMALL, SMALLER = 3000, 1000  # bytes; a snapshot of the tiny model is larger than either


@pytest.mark.parametrize("size_bytes", [SMALL, SMALLER, 10])
def test_training_goes_on_when_there_is_space_again(
    capsys: Capture, tmp_path: Path, spec: str, size_bytes: int
) -> None:
    command = ["train", spec, "--out", tmp_path / "run", *TINY]
    with full_disk(size_bytes):
        code, line = fail(capsys, *command, lines=None)
    assert code == 1
    assert line.startswith("s4op: cannot write ")
    assert "File too large" in line
    assert not (tmp_path / "run" / "model").exists()
    resumed = succeed_json(capsys, *command, "--resume")
    assert resumed["epochs_run"] == 2


def test_an_export_leaves_the_file_that_was_there(capsys: Capture, tmp_path: Path, checkpoint: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    with full_disk(SMALL):
        code, line = fail(capsys, "export", checkpoint, "--out", path)
    assert (code, f"cannot write {path}" in line) == (1, True)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_search_goes_on_when_there_is_space_again(
    capsys: Capture, tmp_path: Path, checkpoint: Path, agent: AgentProcess
) -> None:
    options = ["--agent", agent.url, "--rates", "0.5", "--candidates", "1", *QUICK]
    command = ["prune", checkpoint, "--out", tmp_path / "p", *options]
    with full_disk(SMALL):
        code, line = fail(capsys, *command, lines=None)
    assert code == 1
    assert line.startswith("s4op: cannot write ")
    assert len(succeed_json(capsys, *command, "--resume")["models"]) == 2


def test_a_report_leaves_the_family_alone(capsys: Capture, tmp_path: Path, family: Path) -> None:
    before = (family / "family.json").read_bytes()
    with full_disk(SMALL):
        code, line = fail(capsys, "report", family, "--out", tmp_path)
    assert (code, "cannot write" in line) == (1, True)
    assert list(tmp_path.iterdir()) == []
    assert (family / "family.json").read_bytes() == before


def test_samples_that_cannot_be_written_do_not_cost_the_result(
    capsys: Capture, model_file: Path, agent: AgentProcess, tmp_path: Path
) -> None:
    samples = tmp_path / "samples.txt"
    arguments = ["measure", model_file, "--agent", agent.url, *QUICK, "--samples", samples, "--json"]
    with full_disk(SMALL):
        code = run([str(argument) for argument in [*arguments, "--min-iterations", 2000]])
    out, err = capsys.readouterr()
    assert code == 1
    assert out.startswith('{"measurement_id"')
    assert f"cannot write {samples}" in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(capsys: Capture, spec: str, checkpoint: Path) -> None:
    for command in (
        ["train", spec, "--out", "/proc/x", *TINY],
        ["export", checkpoint, "--out", "/proc/x/m.onnx"],
    ):
        code, line = fail(capsys, *command, lines=None)
        assert code == 1
        assert "cannot write /proc/x" in line


def test_samples_are_written_one_a_line(
    capsys: Capture, tmp_path: Path, model_file: Path, agent: AgentProcess
) -> None:
    path = tmp_path / "samples.txt"
    options = ["--agent", agent.url, *QUICK, "--samples", path]
    iterations = succeed_json(capsys, "measure", model_file, *options)["iterations"]
    assert len([float(line) for line in path.read_text().splitlines()]) == iterations
    assert "median" in succeed(capsys, "measure", model_file, "--agent", agent.url, *QUICK)
