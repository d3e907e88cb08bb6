"""`s4op export --precision fp16`: what it prints, what it refuses, and the file on its way to the device."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_s4op.artifact import read_artifact
from tests.device_agent.agent_helpers import AgentProcess
from tests.host.cli.cli_samples import QUICK, Capture, fail, succeed, succeed_json

FP16 = ("--precision", "fp16")


def test_fp16_says_what_it_costs(capsys: Capture, tmp_path: Path, checkpoint: Path, model_file: Path) -> None:
    out = tmp_path / "half.onnx"
    printed = succeed(capsys, "export", checkpoint, "--out", out, *FP16)
    assert all(word in printed for word in ("validation", "test", "fp32", "fp16", "points", "changed"))
    said = succeed_json(capsys, "export", checkpoint, "--out", out, *FP16)
    assert said["precision"] == "fp16"
    half, single = read_artifact(out, said["sha256"]), read_artifact(model_file)
    for split, accuracy in said["accuracy"].items():
        assert accuracy["fp16"] == half.manifest.accuracy[split]
        assert accuracy["fp32"] == single.manifest.accuracy[split]
    assert list(said["accuracy"]) == ["validation", "test"]


def test_fp32_is_the_default_and_prints_no_comparison(
    capsys: Capture, tmp_path: Path, checkpoint: Path, model_file: Path
) -> None:
    said = succeed_json(capsys, "export", checkpoint, "--out", tmp_path / "m.onnx")
    assert (said["precision"], "accuracy" in said) == ("fp32", False)
    assert (tmp_path / "m.onnx").read_bytes() == model_file.read_bytes()


def test_a_file_in_fp16_goes_the_whole_way(
    capsys: Capture, tmp_path: Path, checkpoint: Path, spec: str, agent: AgentProcess
) -> None:
    out, to = tmp_path / "half.onnx", ["--agent", agent.url]
    said = succeed_json(capsys, "export", checkpoint, "--out", out, *FP16, "--dataset", spec)
    assert succeed_json(capsys, "measure", out, *QUICK, *to)["iterations"] >= 10
    succeed(capsys, "deploy", out, "--name", "half", *to)
    answered = succeed_json(capsys, "infer", "half", "--dataset", spec, *to)
    assert answered["accuracy"] == said["accuracy"]["test"]["fp16"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "fp8"], "unknown precision 'fp8'; expected one of fp16, fp32"),
        (["--dataset", "ucr:GunPoint"], "--dataset is for comparing fp16 with fp32"),
        ([*FP16, "--dataset", "ucr:GunPoint", "--no-check-on-data"], "leave out --no-check-on-data"),
    ],
)
def test_options_that_make_no_sense_are_bad_use(
    capsys: Capture, tmp_path: Path, checkpoint: Path, options: list[str], message: str
) -> None:
    code, line = fail(capsys, "export", checkpoint, "--out", tmp_path / "m.onnx", *options)
    assert (code, message in line) == (2, True), line
    assert not (tmp_path / "m.onnx").exists()
