"""Where a model comes from survives its checkpoint, and what is not ours is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_s4op.artifact import Preprocessing
from edge_s4op.errors import CheckpointError, UnknownNameError
from host.data.dataset import Dataset
from host.models import load_checkpoint, save_checkpoint
from host.provenance import DataSource, Provenance, provenance_of
from host.training.config import TrainConfig
from tests.host.cli.cli_samples import save_npz
from tests.host.training.training_samples import classifier

PROVENANCE = Provenance(
    data=DataSource(spec="npz:/data/mine.npz", validation_fraction=0.25, seed=3),
    preprocessing=Preprocessing(mean=(0.5,), std=(2.0,)),
    class_labels=("slow", "fast"),
    training=TrainConfig(epochs=7, patience=2),
    accuracy={"validation": 0.9, "test": 0.8},
)


def test_it_survives_a_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, classifier(), {**PROVENANCE.extra(), "more": 1})
    _, extra = load_checkpoint(tmp_path)
    assert provenance_of(extra, tmp_path) == PROVENANCE


@pytest.mark.parametrize("extra", [{}, {"provenance": None}, {"provenance": {"data": {"spec": "ucr:x"}}}])
def test_a_checkpoint_of_another_origin_is_refused(extra: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="runs/x: the checkpoint does not say what it was trained on"):
        provenance_of(extra, Path("runs/x"))


def test_a_source_loads_the_same_splits_again(tmp_path: Path) -> None:
    source = DataSource(spec=save_npz(tmp_path / "x.npz"), validation_fraction=0.25, seed=3)
    first, second = source.load(), source.load()
    assert first.validation.x.tobytes() == second.validation.x.tobytes()
    assert len(first.validation) == 8  # a fourth of the 32 that the test split leaves
    other = source.model_copy(update={"seed": 4}).load()
    assert other.validation.x.tobytes() != first.validation.x.tobytes()
    assert np.allclose(_raw(other), _raw(first), atol=1e-6)


def _raw(dataset: Dataset) -> np.ndarray:
    used = dataset.preprocessing
    return dataset.test.x * np.array(used.std) + np.array(used.mean)


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean ucr"):
        DataSource(spec="urc:GunPoint").load()
