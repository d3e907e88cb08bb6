"""Checkpoints, model files and families that cannot be used."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from host.cli.main import COMMANDS
from tests.host.cli.cli_samples import NO_AGENT, Capture, fail, succeed

Content = Callable[[bytes], bytes]


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to spoil."""
    return shutil.copytree(checkpoint, tmp_path / "model")


def _change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["model"] |= changes
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"d_model": 8}, "the weights do not match the config"),
        ({"depth": 3}, "the weights do not match the config"),
        ({"kind": "s4"}, "the weights do not match the config"),
        ({"kind": "s5"}, "not a model config"),
        ({"kept": [[0, 1], [9]]}, "not a model config"),
    ],
)
def test_a_config_of_another_model_is_refused(
    capsys: Capture, copy: Path, tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    _change_config(copy, **changes)
    for command in (["export", copy, "--out", tmp_path / "m.onnx"], ["prune", copy, "--out", tmp_path / "p"]):
        code, line = fail(capsys, *command)
        assert code == 1
        assert str(copy) in line
        assert expected in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("model.safetensors", lambda old: old[:-10], "is not the file config.json was written with"),
        ("config.json", lambda old: old[:-10], "not JSON"),
        ("config.json", lambda old: old.replace(b'"provenance"', b'"origin"'), "what it was trained on"),
    ],
)
def test_a_torn_checkpoint_is_refused(
    capsys: Capture, copy: Path, tmp_path: Path, name: str, content: Content, expected: str
) -> None:
    (copy / name).write_bytes(content((copy / name).read_bytes()))
    code, line = fail(capsys, "export", copy, "--out", tmp_path / "m.onnx")
    assert code == 1
    assert expected in line


def test_data_that_do_not_fit_the_checkpoint_are_refused(capsys: Capture, copy: Path, tmp_path: Path) -> None:
    path = copy / "config.json"
    config = json.loads(path.read_text())
    config["extra"]["provenance"]["data"]["spec"] = "ucr:GunPoint"
    path.write_text(json.dumps(config))
    code, line = fail(capsys, "prune", copy, "--out", tmp_path / "p", "--agent", NO_AGENT)
    assert code == 1
    assert "ucr:GunPoint does not fit the model" in line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (lambda old: b"", "not a valid ONNX file (0 bytes)"),
        (lambda old: b"not onnx at all", "not a valid ONNX file"),
        (lambda old: old[: len(old) // 2], "corrupt or truncated"),
        (lambda old: _with_input(old), "found 2: input:FP32[-1, 16, 1], more"),
        (lambda old: _without_manifest(old), "no s4op manifest"),
    ],
)
def test_a_spoiled_model_file_is_refused_before_it_is_sent(
    capsys: Capture, tmp_path: Path, model_file: Path, content: Content, expected: str
) -> None:
    spoiled = tmp_path / "spoiled.onnx"
    spoiled.write_bytes(content(model_file.read_bytes()))
    for command in (["measure", spoiled], ["deploy", spoiled, "--name", "x"]):
        code, line = fail(capsys, *command, "--agent", NO_AGENT)
        assert code == 1
        assert "spoiled.onnx" in line
        assert expected in line


def _with_input(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["batch", 3]))
    return model.SerializeToString()


def _without_manifest(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    del model.metadata_props[:]
    return model.SerializeToString()


@pytest.mark.parametrize("command", ["train", "prune", "export", "measure", "deploy", "report"])
def test_a_missing_file_is_named(capsys: Capture, tmp_path: Path, command: str) -> None:
    assert command in COMMANDS
    missing = tmp_path / "missing"
    more = {"deploy": ["--name", "x"], "train": ["--out", tmp_path / "o"], "prune": ["--out", tmp_path / "o"]}
    given = f"npz:{missing}" if command == "train" else missing
    code, line = fail(capsys, command, given, *more.get(command, []))
    assert code == 1
    assert str(missing) in line


def test_a_spoiled_family_is_refused(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "family.json").write_text('{"schema_version": 7}')
    for command in (["report", tmp_path], ["deploy", tmp_path, "--name", "x", "--latency-budget-ms", 1]):
        code, line = fail(capsys, *command)
        assert code == 1
        assert "not a family" in line


def test_a_family_is_deployed_only_by_budget(capsys: Capture, family: Path, model_file: Path) -> None:
    code, line = fail(capsys, "deploy", family, "--name", "x")
    assert (code, "say which with --latency-budget-ms" in line) == (2, True)
    code, line = fail(capsys, "deploy", model_file, "--name", "x", "--latency-budget-ms", 1)
    assert (code, "chooses from a family" in line) == (2, True)
    code, line = fail(capsys, "deploy", model_file, "--name", "a/b")
    assert (code, "found 'a/b'" in line) == (2, True)


def test_a_budget_below_all_says_the_smallest_and_keeps_the_results(
    capsys: Capture, family: Path, tmp_path: Path
) -> None:
    before = (family / "family.json").read_bytes()
    latencies = [t["latency"]["p50_ms"] for t in json.loads(before)["trials"] if t["kept"]]
    tried = ["--latency-budget-ms", "1e-7"]
    for command in (["report", family], ["deploy", family, "--name", "x"]):
        code, line = fail(capsys, *command, *tried)
        assert code == 1
        smallest = float(re.search(r"at least (\S+) ms, the smallest reached", line).group(1))
        assert min(latencies) <= smallest <= min(latencies) * 1.001
    assert succeed(capsys, "report", family, "--out", tmp_path, "--latency-budget-ms", smallest)
    assert (family / "family.json").read_bytes() == before
