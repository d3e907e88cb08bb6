"""A stream that an agent keeps the state of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_s4op.messages.base import Message

__all__ = ["StreamInfo"]


class StreamInfo(Message):
    """One stream: a WebSocket, or a sequence of inference requests."""

    id: str = Field(description="the agent's, of this stream only")
    model: str
    kind: Literal["websocket", "sequence"]
    sequence_id: int | str | None = Field(default=None, description="the client's, of a sequence")
    samples: int = Field(ge=0, description="since its start, or since it was reset")
    age_s: float = Field(ge=0)
    idle_s: float = Field(ge=0, description="since its last samples")
    state_bytes: int = Field(ge=0)
