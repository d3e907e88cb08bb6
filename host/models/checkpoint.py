"""A model on disk: a folder with model.safetensors and config.json.

config.json holds {"format": 1, "model": ModelConfig, "weights_sha256": ..., "extra": {...}}; the hash
ties the two files together, so that a folder torn between two saves is noticed when it is read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as bytes_from_tensors

from edge_s4op.artifact import sha256_of
from edge_s4op.errors import CheckpointError
from edge_s4op.files import write_bytes, write_text
from host.models.classifier import Classifier
from host.models.config import ModelConfig

__all__ = ["load_checkpoint", "save_checkpoint"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_checkpoint(folder: Path, model: Classifier, extra: dict[str, Any] | None = None) -> None:
    """Write `model` (and `extra`, JSON values) to `folder`. Raises StorageError."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    weights = bytes_from_tensors(tensors)
    config = {
        "format": 1,
        "model": model.config.model_dump(mode="json"),
        "weights_sha256": sha256_of(weights),
        "extra": extra or {},
    }
    write_bytes(Path(folder) / WEIGHTS, weights)
    write_text(Path(folder) / CONFIG, json.dumps(config, indent=2) + "\n")


def load_checkpoint(folder: Path) -> tuple[Classifier, dict[str, Any]]:
    """The model in `folder`, in eval mode, and its `extra`. Raises CheckpointError."""
    folder = Path(folder)
    config, weights = _read_config(folder), _read(folder / WEIGHTS)
    try:
        model_config = ModelConfig.model_validate(config["model"])
    except (ValidationError, KeyError) as error:
        raise CheckpointError(
            f"{folder / CONFIG}: not a model config: {_first_line(error)}",
            fix="train or save the model again",
        ) from error
    if sha256_of(weights) != config.get("weights_sha256"):
        raise CheckpointError(
            f"{folder}: {WEIGHTS} is not the file {CONFIG} was written with",
            expected=f"sha256 {config.get('weights_sha256')}",
            found=sha256_of(weights),
            fix="the folder is torn or was mixed from two checkpoints: restore or save it again",
        )
    return _model(folder, model_config, weights), config.get("extra", {})


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads(_read(folder / CONFIG))
    except ValueError as error:
        raise CheckpointError(
            f"{folder / CONFIG}: not JSON: {error}", fix="restore the checkpoint"
        ) from error
    if not isinstance(config, dict) or config.get("format") != 1:
        found = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(f"{folder / CONFIG}: unknown checkpoint format", expected=1, found=found)
    return config


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror or error}",
            expected=f"a checkpoint folder with {WEIGHTS} and {CONFIG}",
            fix="`s4op train` writes one",
        ) from error


def _model(folder: Path, config: ModelConfig, weights: bytes) -> Classifier:
    model = Classifier(config)
    try:
        model.load_state_dict(tensors_from_bytes(weights))
    except (SafetensorError, RuntimeError) as error:
        problem = " ".join(str(error).split())
        raise CheckpointError(
            f"{folder}: the weights do not match the config: {problem[:300]}",
            fix=f"{CONFIG} describes another model than {WEIGHTS}: restore the pair",
        ) from error
    _check_masks(folder, model)
    return model.eval()


def _check_masks(folder: Path, model: Classifier) -> None:
    for index, (block, kept) in enumerate(zip(model.blocks, model.kept_operators(), strict=True)):
        counts = set(block.ssm.operators.kept_modes.sum(dim=1).tolist())
        if len(counts) != 1 or 0 in counts or not kept:
            raise CheckpointError(
                f"{folder}: layer {index}'s masks leave {len(kept)} operators with {sorted(counts)} modes",
                expected="at least one operator, and the same number of modes in each, at least one",
                fix=f"{WEIGHTS} is damaged: restore it",
            )
        extra = set(block.ssm.kept_operators()) - set(block.ssm.channels.tolist())
        if extra or not torch.any(block.ssm.mask):
            raise CheckpointError(
                f"{folder}: layer {index}'s mask keeps operators {sorted(extra)} that the config cut out",
                fix=f"{CONFIG} describes another model than {WEIGHTS}: restore the pair",
            )


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
