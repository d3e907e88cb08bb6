"""What makes two runs the same run: a resumed one must agree in all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from edge_s4op.errors import CheckpointError
from host.data.dataset import Dataset, Split
from host.models.classifier import Classifier
from host.training.config import TrainConfig
from host.training.objective import Objective, StepHook

__all__ = ["check_identity", "run_identity"]


def run_identity(
    model: Classifier,
    dataset: Dataset,
    config: TrainConfig,
    device: torch.device,
    objective: Objective | None = None,
    on_step: StepHook | None = None,
) -> dict[str, Any]:
    """Settings, model structure and data as JSON values; data by the hash of its bytes.

    The device counts, since another one rounds differently; weights do not, since a snapshot brings its own.
    """
    given = {"objective": objective, "on_step": on_step}
    return {
        "config": config.model_dump(mode="json") | {"device": device.type},
        "model": model.config.model_dump(mode="json") | _structure(model),
        "dataset": {
            "name": dataset.name,
            "train": _sha256_of_split(dataset.train),
            "validation": _sha256_of_split(dataset.validation),
        },
        **{name: value.identity() for name, value in given.items() if value is not None},
    }


def check_identity(saved: Mapping[str, Any], asked: Mapping[str, Any], where: str) -> None:
    """Raise CheckpointError naming every setting in which a snapshot and this run differ."""
    old, new = _flat(saved), _flat(asked)
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if differing:
        raise CheckpointError(
            f"{where}: it belongs to another run: {', '.join(differing)} differ",
            expected=", ".join(f"{key}={_shown(old.get(key))}" for key in differing),
            found=", ".join(f"{key}={_shown(new.get(key))}" for key in differing),
            fix="resume with the settings the run was started with, or use another folder",
        )


def _structure(model: Classifier) -> dict[str, Any]:
    """What the masks leave, features and states only where they are masked."""
    structure: dict[str, Any] = {"kept": [list(channels) for channels in model.kept_operators()]}
    if len(model.kept_features()) < model.config.d_model:
        structure["kept_features"] = list(model.kept_features())
    if model.states() != model.config.layer_states():
        structure["kept_states"] = list(model.states())
    return structure


def _sha256_of_split(split: Split) -> str:
    digest = hashlib.sha256()
    for array in (split.x, split.y, split.lengths):
        if array is not None:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        name = f"{prefix}{key}"
        flat |= _flat(entry, f"{name}.") if isinstance(entry, Mapping) else {name: entry}
    return flat


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
