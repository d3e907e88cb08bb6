"""What is served, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edge_s4op.messages.base import MODEL_NAME_PATTERN, SHA256_PATTERN, Message

__all__ = ["RepositoryEntry", "ServeOptions", "ServeRequest", "ServedModel"]


class ServeOptions(Message):
    """How models are served, whichever they are."""

    backend: str | None = Field(default=None, description="None: the agent's default backend")
    threads: int = Field(default=1, ge=1, le=1024, description="CPU threads of one inference")
    max_batch: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="most rows that requests are joined to; the largest batch an engine is built for (ONNX "
        "Runtime takes larger requests, too, and runs them alone). None: with ONNX Runtime the batch, up to "
        "8, in which a request is cheapest, timed when the model is loaded; 1 with others",
    )
    max_delay_ms: float = Field(
        default=0.0, ge=0, le=60_000, description="how long a request may wait for others to be joined with"
    )
    max_queue: int = Field(default=64, ge=1, le=65_536, description="most requests that wait")
    instances: int = Field(default=1, ge=1, le=64, description="inferences run at once")
    timeout_ms: float | None = Field(
        default=None, gt=0, le=3_600_000, description="how long a request may wait; None: as long as it takes"
    )
    priority_levels: int = Field(default=1, ge=1, le=1000, description="level 1 is the most urgent")
    default_priority: int | None = Field(
        default=None, ge=1, description="level of requests that name none; None: the middle one"
    )

    @model_validator(mode="after")
    def _check(self) -> ServeOptions:
        if self.default_priority is not None and self.default_priority > self.priority_levels:
            raise ValueError(f"default_priority must be at most priority_levels, {self.priority_levels}")
        return self


class ServeRequest(ServeOptions):
    """Which artifact to serve under a name, and how."""

    artifact_sha256: str = Field(pattern=SHA256_PATTERN)


class ServedModel(Message):
    """A model being served.

    `stage` and `progress` (share of it done, None where unknown) are set while a file is loaded under this
    name; meanwhile `ready` and `serving` are those of the model that was there before, if there was one.
    """

    name: str = Field(pattern=MODEL_NAME_PATTERN)
    serving: ServeRequest
    ready: bool
    max_batch: int | None = Field(
        default=None, ge=1, description="most rows that are joined, asked for or found; None: not ready"
    )
    unloaded: bool = Field(
        default=False, description="remembered, but not in memory until it is loaded again"
    )
    error: str | None = None
    stage: str | None = None
    progress: float | None = Field(default=None, ge=0, le=1)


class RepositoryEntry(Message):
    """A line of the model repository's index, as the Open Inference Protocol names its fields."""

    name: str
    version: str = "1"
    state: Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]
    reason: str = ""
