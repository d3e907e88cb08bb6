"""`s4op measure` against a real agent, and its answers to bad input."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from edge_s4op.artifact import write_artifact
from tests.device_agent.agent_helpers import AgentProcess, scaling_artifact, sum_artifact
from tests.host.cli.cli_samples import NO_AGENT, QUICK, Capture, fail, succeed, succeed_json

FAST = (*QUICK, "--min-duration-ms", 0, "--warmup-ms", 0, "--max-warmup-ms", 0, "--cooldown-ms", 0)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A model of one multiplication."""
    write_artifact(scaling_artifact(), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def test_the_files_asked_for_are_written(
    capsys: Capture, small: Path, agent: AgentProcess, tmp_path: Path
) -> None:
    files = ["--samples", tmp_path / "new" / "samples.txt", "--png", tmp_path / "m.png"]
    measured = succeed_json(capsys, "measure", small, "--agent", agent.url, *FAST, *files)
    taken = np.loadtxt(tmp_path / "new" / "samples.txt", ndmin=1)
    assert hashlib.sha256(taken.astype("<f8").tobytes()).hexdigest() == measured["samples_sha256"]
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")


def test_options_reach_the_device(capsys: Capture, small: Path, agent: AgentProcess) -> None:
    options = {
        "--max-warmup-ms": 7,
        "--min-iterations": 12,
        "--confidence": 0.9,
        "--deadline-ms": 3,
        "--priority": 5,
        "--batch": 2,
        "--cooldown-ms": 0,
    }
    words = [part for pair in options.items() for part in pair]
    switches = ["--no-layers", "--no-spin-wait", "--no-cuda-graph"]
    asked = succeed_json(
        capsys, "measure", small, "--agent", agent.url, *QUICK, "--warmup-ms", 0, *words, *switches
    )["request"]
    for option, value in options.items():
        name = option.removeprefix("--").replace("-", "_")
        assert asked["cooldown_max_ms" if name == "cooldown_ms" else name] == value
    assert (asked["layers"], asked["spin_wait"], asked["cuda_graph"]) == (False, False, False)


def test_json_names_the_device_and_its_clocks(capsys: Capture, small: Path, agent: AgentProcess) -> None:
    measured = succeed_json(capsys, "measure", small, "--agent", agent.url, *FAST)
    assert measured["device"]["fingerprint"] == measured["device_fingerprint"]
    assert "clocks" in measured["device"]
    assert measured["request"]["layers"] is True


def test_a_person_gets_tables_and_a_histogram_on_stdout(
    capsys: Capture, small: Path, agent: AgentProcess
) -> None:
    shown = succeed(capsys, "measure", small, "--agent", agent.url, *FAST, "--min-iterations", 50)
    for expected in ("median", "p99.9", "bins)", "throughput", "spin-wait", "clocks", "fingerprint"):
        assert expected in shown


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--deadline-ms", 0), "--deadline-ms: Input should be greater than 0"),
        (("--deadline-ms", -1.5), "--deadline-ms: Input should be greater than 0"),
        (("--deadline-ms", "nan"), "--deadline-ms"),
        (("--confidence", 1), "--confidence: Input should be less than 1"),
        (("--min-iterations", 0), "--min-iterations"),
        (("--rebuilds", 0), "--rebuilds"),
        (("--rebuilds", 21), "--rebuilds"),
        (("--priority", 101), "--priority"),
        (("--cooldown-ms", -1), "--cooldown-ms"),
        (("--max-warmup-ms", -1), "--max-warmup-ms"),
    ],
)
def test_values_out_of_range_name_their_option(
    capsys: Capture, small: Path, options: tuple[object, ...], expected: str
) -> None:
    code, line = fail(capsys, "measure", small, "--agent", NO_AGENT, *options)
    assert code == 2
    assert expected in line


def test_baseline_and_rebuilds_exclude_each_other(capsys: Capture, small: Path) -> None:
    options = ["--baseline", small, "--rebuilds", 2]
    code, line = fail(capsys, "measure", small, "--agent", NO_AGENT, *options)
    assert (code, "--baseline and --rebuilds exclude each other" in line) == (2, True)


def test_a_baseline_of_another_task_is_refused(capsys: Capture, small: Path, tmp_path: Path) -> None:
    write_artifact(sum_artifact(), tmp_path / "sum.onnx")
    code, line = fail(capsys, "measure", small, "--agent", NO_AGENT, "--baseline", tmp_path / "sum.onnx")
    assert code == 2
    assert "takes other inputs than the model; expected x:FP32[-1, 3]; found a:FP32[-1, 3], b:FP32" in line


def test_a_baseline_that_is_no_model_is_named(capsys: Capture, small: Path, tmp_path: Path) -> None:
    for content in (None, b"no model"):
        if content is not None:
            (tmp_path / "base.onnx").write_bytes(content)
        code, line = fail(capsys, "measure", small, "--agent", NO_AGENT, "--baseline", tmp_path / "base.onnx")
        assert (code, "base.onnx" in line) == (1, True)


@pytest.mark.parametrize("option", ["--png", "--samples"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    capsys: Capture, small: Path, agent: AgentProcess, tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "m", tmp_path, "/proc/nowhere/m"):
        code, line = fail(capsys, "measure", small, "--agent", NO_AGENT, option, path)
        assert code == 1
        assert line.startswith(f"s4op: {option}: ")
        assert "nothing was measured" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "small.onnx"]


def test_no_file_is_written_twice_nor_over_the_model(capsys: Capture, small: Path, tmp_path: Path) -> None:
    content = small.read_bytes()
    for options in (["--png", small], ["--png", tmp_path / "x", "--samples", tmp_path / "x"]):
        code, line = fail(capsys, "measure", small, "--agent", NO_AGENT, *options)
        assert (code, "name another file" in line) == (2, True)
    assert small.read_bytes() == content


def test_a_model_must_be_named(capsys: Capture) -> None:
    code, line = fail(capsys, "measure", "--agent", NO_AGENT)
    assert (code, "MODEL is missing" in line) == (2, True)


def test_how_often_a_search_measures_again_is_checked(
    capsys: Capture, checkpoint: Path, tmp_path: Path
) -> None:
    options = ["--out", tmp_path / "p", "--agent", NO_AGENT, "--remeasure", -1]
    code, line = fail(capsys, "prune", checkpoint, *options)
    assert (code, "--remeasure: Input should be greater than or equal to 0" in line) == (2, True)
