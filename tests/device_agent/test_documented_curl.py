"""The curl commands of README.md and docs/serving.md work as printed, but for the agent's address."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from device_agent.agent import open_agent
from device_agent.settings import Settings
from edge_s4op.artifact import Artifact, Manifest, TensorInfo, artifact_from_model
from tests.device_agent.agent_requests import serve
from tests.device_agent.live import live
from tests.project import ROOT

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")

_MEAN = (np.arange(150).mean().item(), np.arange(1, 151).mean().item())  # of x.bin and of `seq 150`


def mean_artifact() -> Artifact:
    """logits = (mean x, -mean x) over 150 samples, shaped as a GunPoint model."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Neg", ["mean"], ["less"]),
        helper.make_node("Concat", ["mean", "less"], ["logits"], axis=1),
    ]
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 150, 1])
    y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "mean", [x], [y])
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    manifest = Manifest(
        model_kind="test",
        inputs=(TensorInfo(name="input", datatype="FP32", shape=(-1, 150, 1)),),
        outputs=(TensorInfo(name="logits", datatype="FP32", shape=(-1, 2)),),
        d_model=1,
        d_state=1,
        seq_len=150,
        kept_operators=(),
        parameters=1,
        macs=150,
        class_labels=("gun", "point"),
    )
    return artifact_from_model(model, manifest)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with live(open_agent(Settings(data_dir=tmp_path / "data"))) as http:
        assert serve(http, "gunpoint", mean_artifact()).status_code == 200
        yield str(http.base_url).rstrip("/")


def script_of(document: str) -> str:
    """The shell blocks that ask /v2 with curl, in their order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join(block for block in blocks if "curl" in block and "/v2/" in block)


def answers_of(document: str, url: str, folder: Path) -> list[dict]:
    """What its commands print: JSON after JSON, since answers end without a line end."""
    script = script_of(document).replace("http://jetson:8600", url)
    command = ["bash", "-euo", "pipefail", "-c", script.replace("curl -s", "curl -sf --noproxy '*'")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answers, rest = [], done.stdout.strip()
    while rest:
        answer, end = json.JSONDecoder().raw_decode(rest)
        answers.append(answer)
        rest = rest[end:].lstrip()
    return answers


def logits_of(answer: dict) -> list[float]:
    return answer["outputs"][0]["data"]


def test_the_readmes(url: str, tmp_path: Path) -> None:
    metadata, in_json, in_binary, index = answers_of("README.md", url, tmp_path)
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 150, 1]}]
    assert logits_of(in_json) == [_MEAN[1], -_MEAN[1]]
    assert logits_of(in_binary) == [_MEAN[0], -_MEAN[0]]
    assert index == [{"name": "gunpoint", "version": "1", "state": "READY", "reason": ""}]


def test_those_about_serving(url: str, tmp_path: Path) -> None:
    in_json, in_binary, classes, config, statistics, index = answers_of("docs/serving.md", url, tmp_path)
    assert (in_json["id"], logits_of(in_json)) == ("first", [_MEAN[1], -_MEAN[1]])
    assert logits_of(in_binary) == [_MEAN[0], -_MEAN[0]]
    answer = (tmp_path / "y.bin").read_bytes()
    np.testing.assert_array_equal(np.frombuffer(answer[-8:], "<f4"), [_MEAN[0], -_MEAN[0]])
    assert logits_of(classes) == [f"{_MEAN[1]:f}:0:gun"]
    assert index[0]["state"] == "READY"
    assert config["input"][0]["dims"] == [150, 1]
    assert statistics["model_stats"][0]["inference_stats"]["success"]["count"] == 4
