"""The whole loop through the commands, for every kind of model and data."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_s4op.artifact import read_artifact
from host.cli.main import run
from host.models import load_checkpoint
from host.provenance import provenance_of
from host.training.evaluate import evaluate
from host.training.history import Progress
from tests.device_agent.agent_helpers import AgentProcess
from tests.host.cli.cli_samples import (
    QUICK,
    TINY,
    Capture,
    arrays,
    fail,
    save_npz,
    stderr_on_a_terminal,
    succeed,
    succeed_json,
)

LISTOPS = "listops:n_train=48,n_validation=16,n_test=16,max_length=60,max_depth=3,min_length=5"


def _offline(folder: Path) -> float:
    """Accuracy of the model in `folder` on its dataset's test split, in PyTorch."""
    model, extra = load_checkpoint(folder)
    return evaluate(model, provenance_of(extra, folder).data.load().test, device="cpu").accuracy


def test_train_prune_report_deploy_infer(
    capsys: Capture, tmp_path: Path, spec: str, family: Path, agent: AgentProcess
) -> None:
    reported = succeed_json(capsys, "report", family, "--out", tmp_path, "--latency-budget-ms", 1000)
    assert [model["rate"] for model in reported["models"]] == [0.0, 0.3, 0.6]
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "</html>" in (tmp_path / "report.html").read_text()
    deployed = succeed_json(
        capsys, "deploy", family, "--name", "sines", "--latency-budget-ms", 1000, "--agent", agent.url
    )
    assert deployed["url"] == f"{agent.url}/v2/models/sines/infer"
    assert Path(deployed["model"]).parent.name == reported["chosen"]
    answered = succeed_json(capsys, "infer", "sines", "--dataset", spec, "--agent", agent.url)
    assert answered["samples"] == len(answered["classes"]) == 8
    assert answered["accuracy"] == _offline(family / "models" / reported["chosen"])


def test_a_file_is_answered_as_its_dataset_is(
    capsys: Capture, tmp_path: Path, family: Path, agent: AgentProcess
) -> None:
    rows = {f"{key}_test": array for key, array in arrays().items()}
    spec = save_npz(tmp_path / "all.npz", **rows)
    np.save(tmp_path / "rows.npy", rows["x_test"])
    to = ["--agent", agent.url]
    succeed(capsys, "deploy", family / "models/keep-0.70/model.onnx", "--name", "half", *to)
    by_dataset = succeed_json(capsys, "infer", "half", "--dataset", spec, "--batch-size", 7, *to)
    by_file = succeed(capsys, "infer", "half", "--file", tmp_path / "rows.npy", *to)
    assert by_file.split() == by_dataset["classes"]


def test_a_pruned_model_can_be_exported_again(capsys: Capture, tmp_path: Path, family: Path) -> None:
    folder = family / "models" / "keep-0.40"
    exported = succeed_json(capsys, "export", folder, "--out", tmp_path / "m.onnx")
    written, kept = read_artifact(tmp_path / "m.onnx").manifest, read_artifact(folder / "model.onnx").manifest
    assert written.kept_operators == kept.kept_operators
    assert written.accuracy == kept.accuracy
    assert sum(exported["kept_operators"]) == 3  # round(0.6 * 8) of 8 are pruned
    assert exported["sha256"] == read_artifact(tmp_path / "m.onnx").sha256


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (LISTOPS, []),
        (LISTOPS, ["--kind", "s4", "--norm", "batch"]),
        ("ucr:BasicMotions", ["--norm", "batch", "--prenorm"]),
        ("ucr:BasicMotions", ["--kind", "s4"]),
    ],
    ids=["padded-tokens", "padded-tokens-s4-batch", "multivariate-batch-prenorm", "multivariate-s4"],
)
def test_every_kind_of_model_and_data_goes_the_whole_way(
    capsys: Capture, tmp_path: Path, agent: AgentProcess, spec: str, options: list[str]
) -> None:
    to = ["--agent", agent.url]
    trained = succeed_json(capsys, "train", spec, "--out", tmp_path / "run", *TINY, "--epochs", 1, *options)
    rates = ["--rates", "0.5", "--candidates", 1]
    pruned = succeed_json(capsys, "prune", trained["model"], "--out", tmp_path / "p", *rates, *QUICK, *to)
    assert [model["error"] for model in pruned["models"]] == [None, None]
    folder = tmp_path / "p" / "models" / "keep-0.50"
    succeed(capsys, "export", folder, "--out", tmp_path / "m.onnx")
    assert succeed_json(capsys, "measure", tmp_path / "m.onnx", *QUICK, *to)["iterations"] >= 10
    succeed(capsys, "deploy", tmp_path / "m.onnx", "--name", "kind", *to)
    answered = succeed_json(capsys, "infer", "kind", "--dataset", spec, *to)
    assert answered["accuracy"] == _offline(folder) == pruned["models"][1]["test_accuracy"]


def test_training_resumes_to_the_same_model(
    capsys: Capture, tmp_path: Path, spec: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("host.cli.train.training_bar", _interrupted_after_one_epoch)
        assert run(["train", spec, "--out", str(out), *TINY]) == 130
    assert f"kept in {out}: continue with --resume" in capsys.readouterr().err
    succeed(capsys, "train", spec, "--out", out, *TINY, "--resume")
    name = "model.safetensors"
    assert (out / "model" / name).read_bytes() == (checkpoint / name).read_bytes()


@contextlib.contextmanager
def _interrupted_after_one_epoch(description: str) -> Iterator[Callable[[Progress], None]]:
    def follow(at: Progress) -> None:
        if at.epoch == 1 and at.validation_accuracy is not None:
            raise KeyboardInterrupt

    yield follow


def test_a_terminal_gets_a_bar(spec: str, tmp_path: Path) -> None:
    drawn = stderr_on_a_terminal(["train", spec, "--out", str(tmp_path), *TINY])
    assert "training" in drawn
    assert "2/2" in drawn


def test_a_log_gets_no_bar(capsys: Capture, spec: str, tmp_path: Path) -> None:
    assert run(["train", spec, "--out", str(tmp_path), *TINY]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[0] for line in err.splitlines()] == [f"{spec}:", "best", "saved"]


def test_json_is_one_line_also_for_a_search(
    capsys: Capture, checkpoint: Path, family: Path, agent: AgentProcess
) -> None:
    options = ["--out", family, "--agent", agent.url, "--rates", "0.3,0.6", "--candidates", 2, *QUICK]
    again = succeed_json(capsys, "prune", checkpoint, *options, "--resume")
    assert again["family"] == str(family / "family.json")
    models = json.loads((family / "family.json").read_text())["models"]
    assert [row["model"] for row in again["models"]] == list(models)


def test_a_budget_ends_in_a_model_that_measures_under_it(
    capsys: Capture, checkpoint: Path, agent: AgentProcess, tmp_path: Path
) -> None:
    options = ["--out", tmp_path / "p", "--agent", agent.url, "--latency-budget-ms", 1000, *QUICK]
    found = succeed_json(capsys, "prune", checkpoint, *options)
    assert found["chosen"] in ("budget-1000ms", "keep-1.00")
    assert found["models"][-1]["p50_ms"] < found["models"][-1]["budget_ms"] == 1000
    assert (tmp_path / "p" / "models" / "budget-1000ms" / "model.onnx").exists()


def test_a_budget_out_of_reach_fails_and_says_the_smallest(
    capsys: Capture, checkpoint: Path, agent: AgentProcess, tmp_path: Path
) -> None:
    options = ["--out", tmp_path / "p", "--agent", agent.url, "--latency-budget-ms", 0.000001, *QUICK]
    code, line = fail(capsys, "prune", checkpoint, *options, lines=None)
    assert code == 1
    assert "the smallest reached" in line
    assert (tmp_path / "p" / "family.json").exists()
