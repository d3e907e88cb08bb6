"""`s4op export` in fp16 and for streaming: what it prints, what it refuses, and the file on the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_s4op.artifact import read_artifact
from edge_s4op.runtime import open_runner
from edge_s4op.runtime.streaming import open_stream_model
from host.export import relative_difference
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
        (["--window", "5"], "--window is of streaming files; add --streaming"),
        (["--streaming", "--window", "0"], "--window"),
        (["--streaming", *FP16], "a streaming file is in fp32; expected --precision fp32; found fp16"),
    ],
)
def test_options_that_make_no_sense_are_bad_use(
    capsys: Capture, tmp_path: Path, checkpoint: Path, options: list[str], message: str
) -> None:
    code, line = fail(capsys, "export", checkpoint, "--out", tmp_path / "m.onnx", *options)
    assert (code, message in line) == (2, True), line
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(("options", "window"), [([], None), (["--window", "5"], 5)])
def test_a_streaming_file_says_what_a_stream_costs(
    capsys: Capture, tmp_path: Path, checkpoint: Path, options: list[str], window: int | None
) -> None:
    out = tmp_path / "stream.onnx"
    said = succeed_json(capsys, "export", checkpoint, "--out", out, "--streaming", *options)
    streaming = read_artifact(out, said["sha256"]).manifest.streaming
    assert streaming is not None
    assert (said["pooling"], said["window"]) == (streaming.pooling, streaming.window)
    assert (said["window"], said["ssm_form"]) == (window, "diagonal")
    stream = open_stream_model(open_runner(read_artifact(out)))
    assert said["state_bytes"] == stream.new_state().nbytes


def test_a_streaming_file_answers_as_the_offline_file_at_the_end_of_a_sequence(
    capsys: Capture, tmp_path: Path, checkpoint: Path, model_file: Path
) -> None:
    out = tmp_path / "stream.onnx"
    succeed(capsys, "export", checkpoint, "--out", out, "--streaming")
    whole = open_runner(read_artifact(model_file))
    shape = whole.manifest.inputs[0].shape[1:]
    x = np.random.default_rng(0).standard_normal((1, *shape), np.float32)
    stream = open_stream_model(open_runner(read_artifact(out)))
    state = stream.new_state()
    for sample in np.split(x, shape[0], axis=1):
        logits, state = stream.push(state, sample)
    assert relative_difference(logits, whole.run({"input": x})["logits"]) < 1e-4
    assert stream.manifest.accuracy == whole.manifest.accuracy
    assert stream.manifest.preprocessing == whole.manifest.preprocessing


def test_what_a_shorter_window_answers_has_no_measured_accuracy(
    capsys: Capture, tmp_path: Path, checkpoint: Path
) -> None:
    out = tmp_path / "stream.onnx"
    succeed(capsys, "export", checkpoint, "--out", out, "--streaming", "--window", "5")
    assert read_artifact(out).manifest.accuracy == {}


def test_measuring_a_streaming_file_measures_one_sample(
    capsys: Capture, tmp_path: Path, checkpoint: Path, agent: AgentProcess
) -> None:
    out = tmp_path / "stream.onnx"
    succeed(capsys, "export", checkpoint, "--out", out, "--streaming")
    assert succeed_json(capsys, "measure", out, *QUICK, "--agent", agent.url)["iterations"] >= 10
