"""What is served, and how."""

from __future__ import annotations

from pydantic import Field

from edge_s4op.messages.base import MODEL_NAME_PATTERN, SHA256_PATTERN, Message

__all__ = ["ServeRequest", "ServedModel"]


class ServeRequest(Message):
    """Which artifact to serve under a name, and how."""

    artifact_sha256: str = Field(pattern=SHA256_PATTERN)
    backend: str | None = Field(default=None, description="None: the agent's default backend")
    threads: int = Field(default=1, ge=1, le=1024)
    max_batch: int = Field(
        default=1, ge=1, le=4096, description="the largest an engine is built for; ONNX Runtime takes any"
    )


class ServedModel(Message):
    """A model being served.

    `stage` and `progress` (share of it done, None where unknown) are set while a file is loaded under this
    name; meanwhile `ready` and `serving` are those of the model that was there before, if there was one.
    """

    name: str = Field(pattern=MODEL_NAME_PATTERN)
    serving: ServeRequest
    ready: bool
    error: str | None = None
    stage: str | None = None
    progress: float | None = Field(default=None, ge=0, le=1)
