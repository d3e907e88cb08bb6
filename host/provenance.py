"""Where a trained model comes from; travels in its checkpoint, so that later steps need not be told again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_s4op.artifact import Preprocessing
from edge_s4op.errors import CheckpointError
from host.data.dataset import Dataset, load_dataset
from host.training.config import TrainConfig

__all__ = ["DataSource", "Provenance", "provenance_of"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSource(_Value):
    """What `load_dataset` was called with."""

    spec: str
    validation_fraction: float = 0.2
    seed: int = 0

    def load(self) -> Dataset:
        """The dataset with its splits. Raises UsageError and DataError as `load_dataset` does."""
        return load_dataset(self.spec, validation_fraction=self.validation_fraction, seed=self.seed)


class Provenance(_Value):
    """Data, training settings and accuracy (fractions of one, by split) of a trained model."""

    data: DataSource
    preprocessing: Preprocessing
    class_labels: tuple[str, ...]
    training: TrainConfig
    accuracy: dict[str, float]

    def extra(self) -> dict[str, Any]:
        """As `save_checkpoint` takes it."""
        return {"provenance": self.model_dump(mode="json")}


def provenance_of(extra: dict[str, Any], folder: Path) -> Provenance:
    """What a checkpoint's `extra` says. Raises CheckpointError when it says nothing or something else."""
    try:
        return Provenance.model_validate(extra["provenance"])
    except (KeyError, ValidationError) as error:
        raise CheckpointError(
            f"{folder}: the checkpoint does not say what it was trained on",
            expected="an entry 'provenance', as `s4op train` writes it",
            fix="train with `s4op train`, or call the Python functions with your own dataset",
        ) from error
