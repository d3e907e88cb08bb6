"""What an engine is built from, its key, and what stands beside it on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BuildSpec", "EngineRecord", "engine_key"]

_SHA256 = r"^[0-9a-f]{64}$"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BuildSpec(_Value):
    """Everything an engine depends on; equal specs may share an engine."""

    format_version: Literal[1] = Field(default=1, description="raised when we build differently")
    artifact_sha256: str = Field(pattern=_SHA256)
    tensorrt: str = Field(description='module and version, "tensorrt 10.3.0"')
    gpu: str = Field(description='name and compute capability; "none" where there is no device')
    cuda: str = Field(description='newest CUDA the driver runs; "none" where there is no driver')
    batch: int = Field(ge=1, description="engines take batches of 1 to this many")
    memory_bytes: int | None = Field(description="limit on the builder's workspace")
    tf32: bool = Field(description="whether float32 products may be rounded to TF32")
    plugin: Path | None = Field(description="the SSMConv plugin's library; None: functions inlined")
    plugin_sha256: str | None = Field(description="hash of that library")


class EngineRecord(_Value):
    """The sidecar `<key>.json` of an engine `<key>.engine`."""

    key: str = Field(pattern=_SHA256)
    spec: BuildSpec
    engine_sha256: str = Field(pattern=_SHA256)
    size_bytes: int
    network_layers: int
    plugin_layers: int
    note: str | None = Field(description="what is not as one might expect, for example no plugin")
    build_s: float


def engine_key(spec: BuildSpec) -> str:
    """Hex SHA-256 of the spec; where the plugin lies does not matter, what is in it does."""
    return hashlib.sha256(spec.model_dump_json(exclude={"plugin"}).encode()).hexdigest()
