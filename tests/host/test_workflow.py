"""The steps behind the commands, as functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_s4op.artifact import Manifest, Preprocessing
from edge_s4op.errors import AgentRefusedError, DataError
from edge_s4op.messages import ServeRequest
from host.data.dataset import Split
from host.models import ModelConfig, load_checkpoint
from host.provenance import DataSource
from host.training.config import TrainConfig
from host.training.evaluate import evaluate
from host.workflow import (
    TrainedModel,
    batch_size_for,
    export_checkpoint,
    infer_split,
    normalised_for,
    shape_of,
    train_model,
)
from tests.host.cli.cli_samples import arrays, save_npz
from tests.host.search.search_samples import agent_in_process

TRAINING = TrainConfig(epochs=2, batch_size=8, device="cpu")


def _trained(folder: Path, **changes: np.ndarray) -> TrainedModel:
    source = DataSource(spec=save_npz(folder / "x.npz", **changes))
    data = source.load()
    config = ModelConfig(kind="s4d", d_model=4, d_state=4, depth=2, **shape_of(data))
    return train_model(source, data, config, TRAINING, folder / "run")


def _manifest(folder: Path) -> Manifest:
    return export_checkpoint(_trained(folder).folder, check_on_data=False).manifest


def test_training_saves_what_it_reports_and_leaves_the_callers_randomness_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    trained = _trained(tmp_path)
    assert torch.rand(1) == expected
    model, extra = load_checkpoint(trained.folder)
    data = trained.provenance.data.load()
    assert extra == trained.provenance.extra()
    accuracy = {
        "validation": evaluate(model, data.validation, device="cpu").accuracy,
        "test": evaluate(model, data.test, device="cpu").accuracy,
    }
    assert accuracy == trained.provenance.accuracy == trained.summary()["accuracy"]


def test_an_export_carries_what_the_device_needs(tmp_path: Path) -> None:
    lengths = np.arange(40) % 16 + 1
    trained = _trained(tmp_path, lengths=lengths)
    manifest = export_checkpoint(trained.folder).manifest
    assert [info.name for info in manifest.inputs] == ["input", "lengths"]
    assert manifest.preprocessing == trained.provenance.preprocessing
    assert manifest.accuracy == trained.provenance.accuracy
    assert manifest.class_labels == ("0", "1")
    assert manifest.dataset == trained.provenance.data.spec


@pytest.mark.parametrize("padded", [False, True])
def test_a_served_model_answers_as_pytorch(tmp_path: Path, padded: bool) -> None:
    trained = _trained(tmp_path, **({"lengths": np.arange(40) % 16 + 1} if padded else {}))
    artifact = export_checkpoint(trained.folder)
    test = trained.provenance.data.load().test
    done: list[int] = []
    with agent_in_process(tmp_path / "agent") as agent:
        agent.put_artifact(artifact)
        agent.serve("x", ServeRequest(artifact_sha256=artifact.sha256))
        answers = infer_split(agent, "x", test, batch_size=3, on_progress=done.append)
        with pytest.raises(AgentRefusedError):
            infer_split(agent, "y", test)
    assert done == [3, 6, 8]
    assert answers.logits.shape == (8, 2)
    model, _ = load_checkpoint(trained.folder)
    inputs = [torch.from_numpy(test.x)] + ([torch.from_numpy(test.lengths)] if padded else [])
    with torch.no_grad():
        offline = model(*inputs).numpy()
    assert np.abs(answers.logits - offline).max() <= 1e-4 * np.abs(offline).max()
    assert answers.accuracy == (offline.argmax(-1) == test.y).mean()


def test_data_normalised_otherwise_are_normalised_as_the_model_wants(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    raw = arrays()["x"][..., None]
    used = Preprocessing(mean=(3.0,), std=(0.5,))
    split = Split(((raw - 3.0) / 0.5).astype(np.float32), np.zeros(len(raw), np.int64), None)
    got = normalised_for(manifest, split, used)
    wanted = (raw - manifest.preprocessing.mean) / manifest.preprocessing.std
    assert np.allclose(got.x, wanted, atol=1e-5)
    assert got.x.dtype == np.float32
    assert normalised_for(manifest, split, manifest.preprocessing) is split


def test_padding_stays_zero_when_data_are_normalised_again(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    lengths = np.array([4, 16])
    x = np.where(np.arange(16) < lengths[:, None], 1.0, 0.0)[..., None].astype(np.float32)
    got = normalised_for(
        manifest, Split(x, np.zeros(2, np.int64), lengths), Preprocessing(mean=(9.0,), std=(2.0,))
    )
    assert not got.x[0, 4:].any()
    assert got.x[0, :4].all()
    assert got.x[1].all()


@pytest.mark.parametrize("shape", [(2, 15, 1), (2, 16, 2), (2, 16)])
def test_data_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    manifest = _manifest(tmp_path)
    split = Split(np.zeros(shape, np.float32), np.zeros(2, np.int64), None)
    with pytest.raises(DataError, match=r"do not fit the served model; expected .*\[16, 1\]"):
        normalised_for(manifest, split, manifest.preprocessing)


@pytest.mark.parametrize(
    ("backend", "max_batch", "size"), [("onnxruntime", 1, 32), ("tensorrt", 1, 1), ("tensorrt", 64, 32)]
)
def test_a_request_is_no_larger_than_the_engine_takes(backend: str, max_batch: int, size: int) -> None:
    serving = ServeRequest(artifact_sha256="0" * 64, backend=backend, max_batch=max_batch)
    assert batch_size_for(serving) == size
