"""Datasets and settings that cannot be used: one line that says what, exit code, and nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.host.cli.cli_samples import NO_AGENT, TINY, Capture, arrays, fail, save_npz

X, Y = arrays()["x"], arrays()["y"]


def _with(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[5] = value
    return changed


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("urc:GunPoint", "did you mean ucr?"),
        ("ucr:GunPoin", "did you mean GunPoint"),
        ("listops:n_trian=3", "'n_trian'"),
        ("listops:n_train=three", "n_train"),
        ("npz:", "needs a path"),
    ],
)
def test_unknown_datasets_are_bad_use(capsys: Capture, tmp_path: Path, spec: str, expected: str) -> None:
    code, line = fail(capsys, "train", spec, "--out", tmp_path / "run")
    assert code == 2
    assert expected in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"y": None}, "key 'y' is missing"),
        ({"x": _with(X, np.nan)}, "row 0"),
        ({"x": X[..., None, None]}, "wrong rank"),
        ({"x": X[:, 0]}, "wrong rank"),
        ({"y": Y[:-1]}, "y"),
        ({"y": _with(Y, -1)}, "out of range"),
        ({"y": _with(Y, 2), "class_labels": np.array(["slow", "fast"])}, "out of range; expected 0 to 1"),
    ],
)
def test_malformed_arrays_are_named(
    capsys: Capture, tmp_path: Path, changes: dict[str, np.ndarray], expected: str
) -> None:
    spec = save_npz(tmp_path / "mine.npz", **changes)
    code, line = fail(capsys, "train", spec, "--out", tmp_path / "run")
    assert code == 1
    assert "mine.npz" in line
    assert expected in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_unreadable_files_are_named(capsys: Capture, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.npz"
    if content is not None:
        path.write_bytes(content)
    code, line = fail(capsys, "train", f"npz:{path}", "--out", tmp_path / "run")
    assert code == 1
    assert str(path) in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--kind", "s5"], "--kind: Input should be 's4d' or 's4'"),
        (["--norm", "group"], "--norm"),
        (["--epochs", "0"], "--epochs"),
        (["--d-state", "7"], "--d-state"),
        (["--lr", "nan"], "--lr"),
        (["--dropout", "1.5"], "--dropout"),
        (["--device", "tpu"], "--device"),
        (["--data-seed", "-1"], "--data-seed"),
        (["--validation-fraction", "2"], "validation fraction"),
    ],
)
def test_bad_settings_name_the_option(
    capsys: Capture, tmp_path: Path, spec: str, options: list[str], expected: str
) -> None:
    code, line = fail(capsys, "train", spec, "--out", tmp_path / "run", *options, lines=None)
    assert code == 2
    assert expected in line
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten(capsys: Capture, checkpoint: Path, spec: str) -> None:
    before = (checkpoint / "model.safetensors").read_bytes()
    code, line = fail(capsys, "train", spec, "--out", checkpoint.parent, *TINY, lines=None)
    assert code == 2
    assert "already holds a training run" in line
    assert (checkpoint / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--criterion", "randon"],
            "unknown criterion 'randon'; expected one of fisher, h2, hinf, magnitude, output-change, random, "
            "taylor; did you mean random?",
        ),
        (["--allocator", "depth-exponental"], "did you mean depth-exponential?"),
        (["--schedule", "incrementel"], "did you mean incremental?"),
        (["--rates", "0.5,0.3"], "must increase"),
        (["--rates", "0.3,0.3"], "must increase"),
        (["--rates", "0.3,1.0"], "between 0 and 1"),
        (["--rates", "30"], "between 0 and 1"),
        (["--rates", "0"], "between 0 and 1"),
        (["--rates", "nan"], "finite number"),
        (["--rates", "0.3;0.5"], "--rates: cannot read '0.3;0.5'"),
        (["--seeds", "1,x"], "--seeds: cannot read 'x'"),
        (["--seeds", "7,7"], "--seeds: seeds must differ"),
        (["--candidates", "0"], "--candidates"),
        (["--pruning-ratio", "1.5"], "between 0 and 1"),
        (["--pruning-ratio", "0.5", "--rates", "0.5"], "exclude each other"),
        (["--latency-budget-ms", "fast"], "--latency-budget-ms: cannot read 'fast'"),
        (["--latency-budget-ms", "0"], "--latency-budget-ms: a budget must be above 0"),
        (["--latency-budget-ms", "1,2"], "budgets must fall"),
        (["--latency-budget-ratio", "-1"], "--latency-budget-ratio: a budget must be above 0"),
        (["--rates", "0.5", "--features"], "under a budget"),
        (["--fine-tune-epochs", "0"], "--fine-tune-epochs"),
        (["--distill", "2"], "--distill"),
        (["--gradual", "1"], "--gradual"),
        (["--workers", "0"], "--workers"),
        (["--precision", "2"], "--precision"),
        (["--threads", "0"], "--threads"),
        (["--agent", "jetson:8600"], "http://HOST:PORT"),
    ],
)
def test_bad_searches_are_refused_before_the_agent_is_asked(
    capsys: Capture, tmp_path: Path, checkpoint: Path, options: list[str], expected: str
) -> None:
    agent = [] if "--agent" in options else ["--agent", NO_AGENT]
    code, line = fail(capsys, "prune", checkpoint, "--out", tmp_path / "out", *agent, *options)
    assert code == 2
    assert expected in line
    assert not (tmp_path / "out").exists()
