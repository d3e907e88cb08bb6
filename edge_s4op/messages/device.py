"""What the device is, and the model files it holds."""

from __future__ import annotations

from pydantic import Field

from edge_s4op.artifact import Manifest
from edge_s4op.messages.base import SHA256_PATTERN, Message

__all__ = ["ArtifactInfo", "DeviceFacts"]


class DeviceFacts(Message):
    """What the device is and what runs on it; None where it could not be read."""

    board: str
    cpu: str
    cores: int
    governor: str | None
    huge_pages: str = Field(default="unknown", description="always, malloc, madvise, never or unknown")
    memory_bytes: int
    os: str
    gpu: str | None = None
    power_mode: str | None = Field(default=None, description='of a Jetson, nvpmodel\'s: "15W"')
    clocks: dict[str, str] = Field(
        default_factory=dict,
        description='limits of the clocks latency depends on, "1510 MHz" or "729 .. 1510 MHz", by "cpu", '
        '"gpu", "emc"; one number where minimum and maximum are the same (locked)',
    )
    versions: dict[str, str]
    backends: tuple[str, ...]
    default_backend: str = Field(default="onnxruntime", description="of requests that name none")
    power_source: str | None = Field(default=None, description="of energy; None: no sensor may be read")
    fingerprint: str = Field(description="hash of everything here that latency depends on")


class ArtifactInfo(Message):
    """A model file the agent holds."""

    sha256: str = Field(pattern=SHA256_PATTERN)
    size_bytes: int
    manifest: Manifest
