"""Measure a model file on the device once, and remember it.

Latency depends on how many operators each layer keeps, not on which, nor on weights: so a measurement is
kept under its structure, the device's fingerprint and the settings it was made with. One that was disturbed
is used, too, but measured once more when it is next asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_s4op.artifact import Artifact
from edge_s4op.client import AgentClient
from edge_s4op.errors import CheckpointError, MeasurementError
from edge_s4op.files import write_text
from edge_s4op.messages import Disturbance, Job, MeasurementRequest, MeasurementResult, MeasurementSettings
from host.models.config import ModelConfig

__all__ = [
    "Measurement",
    "MeasurementCache",
    "MeasurementKey",
    "key_of",
    "measure_artifact",
]

# What a ModelConfig holds beyond the shape of its computation.
_NOT_SHAPE = {"kept", "dropout", "dt_min", "dt_max", "features", "full_d_model", "states"}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measurement(_Value):
    """A measurement that has ended: a result, or the reason why there is none."""

    job_id: str
    result: MeasurementResult | None = None
    error: str | None = None


class MeasurementKey(_Value):
    """Everything a latency depends on."""

    shape: dict[str, Any]
    kept_counts: tuple[int, ...]
    device_fingerprint: str
    settings: MeasurementSettings

    def sha256(self) -> str:
        """Hex SHA-256 of the key, the name it is stored under."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class _Entry(_Value):
    key: MeasurementKey
    measurement: Measurement
    measured_again: bool = False


class MeasurementCache:
    """Measurements in a folder, one JSON file each. Failed ones are remembered by this object only.

    So a structure the device cannot run is tried once per run, and again when the run is resumed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)
        self._failed: dict[str, Measurement] = {}

    def get(self, key: MeasurementKey) -> Measurement | None:
        """What is known of `key`, or None. Raises CheckpointError when its file is not ours."""
        entry = self._entry(key)
        return self._failed.get(key.sha256()) if entry is None else entry.measurement

    def settled(self, key: MeasurementKey) -> Measurement | None:
        """As `get`, but None also for one that an earlier request left disturbed: it gets one more chance.

        Measured again and `put`, it is settled, whatever came of it. Raises CheckpointError.
        """
        entry = self._entry(key)
        if entry is None or entry.measured_again or not _disturbances(entry.measurement):
            return self.get(key)
        return None

    def put(self, key: MeasurementKey, measurement: Measurement) -> None:
        """Remember `measurement`; a disturbed one never replaces one with fewer disturbances.

        Raises CheckpointError when what is stored there is not ours, StorageError.
        """
        known = self._entry(key)
        if known is None and measurement.result is None:
            self._failed[key.sha256()] = measurement
            return
        better = measurement if known is None else _better(known.measurement, measurement)
        entry = _Entry(key=key, measurement=better, measured_again=known is not None)
        write_text(self._path(key), entry.model_dump_json(indent=2) + "\n")

    def _entry(self, key: MeasurementKey) -> _Entry | None:
        path = self._path(key)
        try:
            return _Entry.model_validate_json(path.read_bytes()) if path.exists() else None
        except (ValidationError, OSError) as error:
            raise CheckpointError(
                f"{path}: not a stored measurement", fix="delete the file: it is measured again"
            ) from error

    def _path(self, key: MeasurementKey) -> Path:
        return self._folder / f"{key.sha256()}.json"


def _better(known: Measurement, new: Measurement) -> Measurement:
    fewer = new.result is not None and len(_disturbances(new)) <= len(_disturbances(known))
    return new if fewer else known


def _disturbances(measurement: Measurement) -> tuple[Disturbance, ...]:
    return () if measurement.result is None else measurement.result.disturbed


def key_of(
    config: ModelConfig, kept_counts: tuple[int, ...], device_fingerprint: str, settings: MeasurementSettings
) -> MeasurementKey:
    """The key of a structure of `config`'s shape: H and N are what the config says is left.

    Of a masked model give `compact_config(model)`, of a plan `planned_config(config, plan)`, so that removed
    channels and states count.
    """
    shape = config.model_dump(mode="json", exclude=_NOT_SHAPE) | {"d_state": _states(config)}
    return MeasurementKey(
        shape=shape, kept_counts=kept_counts, device_fingerprint=device_fingerprint, settings=settings
    )


def _states(config: ModelConfig) -> int | list[int]:
    """Real states per operator: one number where every layer has the same."""
    states = config.layer_states()
    return states[0] if len(set(states)) == 1 else list(states)


def measure_artifact(
    agent: AgentClient,
    artifact: Artifact,
    settings: MeasurementSettings,
    *,
    device_fingerprint: str | None = None,
    on_progress: Callable[[Job], None] | None = None,
) -> Measurement:
    """Upload, measure, wait. A measurement that fails is returned with its reason, never raised.

    One made on a device that no longer is `device_fingerprint` (its governor or its software changed; None:
    whatever device) is a failed one: it cannot be compared with the others.
    Raises AgentError when the agent is lost or refuses.
    """
    request = MeasurementRequest(artifact_sha256=artifact.sha256, **settings.model_dump())
    jobs: list[Job] = []

    def follow(job: Job) -> None:
        jobs.append(job)
        if on_progress is not None:
            on_progress(job)

    try:
        result = agent.measure(artifact, request, on_progress=follow)
    except MeasurementError as error:
        return Measurement(job_id=jobs[-1].id, error=str(error))
    if device_fingerprint not in (None, result.device_fingerprint):
        reason = _changed(result.device_fingerprint, str(device_fingerprint))
        return Measurement(job_id=jobs[-1].id, error=reason)
    return Measurement(job_id=jobs[-1].id, result=result)


def _changed(found: str, expected: str) -> str:
    return (
        f"the device changed while the search ran: expected fingerprint {expected[:12]}, found {found[:12]}; "
        "set its governor and software back, or search again"
    )
