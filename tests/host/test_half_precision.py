"""What fp16 costs is measured on data, said, and kept in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edge_s4op.artifact import Artifact, artifact_from_model
from edge_s4op.errors import BadInferenceInputError, DataError
from edge_s4op.runtime import open_runner
from host.data.dataset import Split
from host.half_precision import compare, export_half
from host.models import ModelConfig
from host.provenance import DataSource
from host.training.config import TrainConfig
from host.workflow import TrainedModel, export_checkpoint, shape_of, train_model
from tests.host.cli.cli_samples import arrays, save_npz

TRAINING = TrainConfig(epochs=2, batch_size=8, device="cpu")


def _trained(folder: Path, **changes: np.ndarray) -> TrainedModel:
    source = DataSource(spec=save_npz(folder / "x.npz", **changes))
    data = source.load()
    config = ModelConfig(kind="s4d", d_model=4, d_state=4, depth=2, **shape_of(data))
    return train_model(source, data, config, TRAINING, folder / "run")


def _classes(artifact: Artifact, split: Split) -> np.ndarray:
    feeds = {"input": split.x} | ({} if split.lengths is None else {"lengths": split.lengths})
    return open_runner(artifact).run(feeds)["logits"].argmax(-1)


@pytest.mark.parametrize("padded", [False, True])
def test_the_file_carries_its_own_accuracy(tmp_path: Path, padded: bool) -> None:
    trained = _trained(tmp_path, **({"lengths": np.arange(40) % 16 + 1} if padded else {}))
    shares: list[float] = []
    half = export_half(trained.folder, on_progress=shares.append)
    data = trained.provenance.data.load()
    for found in half.comparisons:
        split = getattr(data, found.split)
        assert found.samples == len(split)
        assert found.fp32 == trained.provenance.accuracy[found.split]
        assert found.fp16 == (_classes(half.artifact, split) == split.y).mean()
    assert half.artifact.manifest.precision == "fp16"
    assert half.artifact.manifest.accuracy == {c.split: c.fp16 for c in half.comparisons}
    assert list(half.artifact.manifest.accuracy) == ["validation", "test"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    single = export_checkpoint(trained.folder).manifest
    other = {"precision", "accuracy"}
    assert half.artifact.manifest.model_dump(exclude=other) == single.model_dump(exclude=other)


def test_without_data_no_accuracy_is_claimed(tmp_path: Path) -> None:
    trained = _trained(tmp_path)
    (tmp_path / "x.npz").unlink()
    half = export_half(trained.folder, on_data=False)
    assert half.comparisons == ()
    assert half.artifact.manifest.accuracy == {}


def test_other_data_are_normalised_as_the_model_was(tmp_path: Path) -> None:
    trained = _trained(tmp_path)
    moved = save_npz(tmp_path / "moved.npz", x=arrays()["x"] * 3 + 1)
    half = export_half(trained.folder, dataset=moved)
    assert half.artifact.manifest.dataset == moved
    scaled = trained.provenance.preprocessing
    test = DataSource(spec=moved).load()
    raw = test.test.x * np.float32(test.preprocessing.std[0]) + np.float32(test.preprocessing.mean[0])
    x = (raw - np.float32(scaled.mean[0])) / np.float32(scaled.std[0])
    found = _classes(half.artifact, Split(x.astype(np.float32), test.test.y, None))
    assert half.artifact.manifest.accuracy["test"] == (found == test.test.y).mean()


def test_data_of_other_classes_are_refused(tmp_path: Path) -> None:
    trained = _trained(tmp_path)
    other = save_npz(tmp_path / "three.npz", y=np.arange(40) % 3)
    with pytest.raises(DataError, match=r"not the classes .*; expected 0, 1; found 0, 1, 2"):
        export_half(trained.folder, dataset=other)


def test_changed_answers_are_counted(tmp_path: Path) -> None:
    trained = _trained(tmp_path)
    half = export_half(trained.folder).artifact
    proto = onnx.load_model_from_string(half.content)
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "head/bias")
    bias.raw_data = np.array([1e4, 0], np.float32).tobytes()  # always class 0
    test = trained.provenance.data.load().test
    single = export_checkpoint(trained.folder)
    (found,) = compare(single, artifact_from_model(proto, half.manifest), {"test": test})
    before = _classes(single, test)
    assert found.changed == (before != 0).sum() > 0
    assert found.difference == (test.y == 0).mean() - (test.y == before).mean()


def test_a_value_that_fp16_cannot_hold_is_no_answer_but_an_error(tmp_path: Path) -> None:
    trained = _trained(tmp_path)
    x = trained.provenance.data.load().test.x[:1].copy()
    x[0, 0] = 1e5
    assert np.isfinite(open_runner(export_checkpoint(trained.folder)).run({"input": x})["logits"]).all()
    with pytest.raises(BadInferenceInputError, match="value out of range"):
        open_runner(export_half(trained.folder).artifact).run({"input": x})
