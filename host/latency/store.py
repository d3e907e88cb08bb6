"""Latency models on disk, one JSON file per device, settings and shape of the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from edge_s4op.errors import CheckpointError
from edge_s4op.files import write_text
from edge_s4op.messages import MeasurementSettings
from host.latency.model import LatencyModel

__all__ = ["load_latency_model", "read_latency_models", "save_latency_model"]


def save_latency_model(folder: Path, model: LatencyModel, key: Sequence[object] = ()) -> Path:
    """Write `model` into `folder`, all or nothing. `key`: what else it depends on. Raises StorageError."""
    path = folder / _name(model.device_fingerprint, model.settings, model.layers, key)
    write_text(path, model.model_dump_json(indent=2) + "\n")
    return path


def load_latency_model(
    folder: Path,
    device_fingerprint: str,
    settings: MeasurementSettings,
    layers: Sequence[str],
    key: Sequence[object] = (),
) -> LatencyModel | None:
    """The model saved for exactly this device, settings and layers; None if there is none.

    Raises CheckpointError for a file that is not ours, or is not what its name says.
    """
    path = folder / _name(device_fingerprint, settings, layers, key)
    if not path.exists():
        return None
    model = _read(path)
    if (model.device_fingerprint, model.settings, model.layers) != (
        device_fingerprint,
        settings,
        tuple(layers),
    ):
        raise CheckpointError(
            f"{path}: a latency model of another device, other settings or other layers than its name says",
            fix="delete the file: it is learned again",
        )
    return model


def read_latency_models(folder: Path) -> tuple[LatencyModel, ...]:
    """All models in `folder`, by file name. Raises CheckpointError."""
    return tuple(_read(path) for path in sorted(folder.glob("latency-*.json")))


def _read(path: Path) -> LatencyModel:
    try:
        return LatencyModel.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a latency model of this version", fix="delete the file: it is learned again"
        ) from error


def _name(
    fingerprint: str, settings: MeasurementSettings, layers: Sequence[str], key: Sequence[object]
) -> str:
    identity = json.dumps([fingerprint, settings.model_dump(mode="json"), list(layers), list(key)])
    return f"latency-{fingerprint[:12]}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
