"""What all messages share: how strict they are, names of models and hashes, intervals."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["MODEL_NAME_PATTERN", "SHA256_PATTERN", "Interval", "Message"]

SHA256_PATTERN = r"^[0-9a-f]{64}$"
MODEL_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class Message(BaseModel):
    """Frozen; an unknown field, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Interval(Message):
    """A confidence interval [low, high], in the unit of what it belongs to."""

    low: float
    high: float
