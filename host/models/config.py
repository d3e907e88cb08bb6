"""What a classifier is made of, as one frozen value that travels with every checkpoint."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ModelConfig"]


class ModelConfig(BaseModel):
    """Shape of an S4 or S4D classifier.

    Exactly one of `d_input` (continuous channels) and `vocab_size` (tokens) is set. `d_state` counts
    real states: N = 64 means 32 conjugate pairs. `kept` lists the kept operators per layer, ascending,
    in a model whose pruned operators have been cut out; None in one that has them all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["s4d", "s4"]
    num_classes: int = Field(ge=2)
    seq_len: int = Field(ge=1)
    d_input: int | None = Field(default=None, ge=1)
    vocab_size: int | None = Field(default=None, ge=2)
    d_model: int = Field(default=32, ge=1)
    d_state: int = Field(default=64, ge=2, multiple_of=2)
    depth: int = Field(default=4, ge=1)
    norm: Literal["layer", "batch"] = "layer"
    prenorm: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    dt_min: float = Field(default=1e-3, gt=0)
    dt_max: float = Field(default=1e-1, gt=0)
    padded: bool = False
    kept: tuple[tuple[int, ...], ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if (self.d_input is None) == (self.vocab_size is None):
            raise ValueError("exactly one of d_input and vocab_size must be set")
        if self.dt_min > self.dt_max:
            raise ValueError(f"dt_min {self.dt_min} must not exceed dt_max {self.dt_max}")
        if self.kept is not None:
            _check_kept(self.kept, self.depth, self.d_model)
        return self

    def kept_operators(self) -> tuple[tuple[int, ...], ...]:
        """Kept channel indices per layer: `kept`, or every channel."""
        return self.kept if self.kept is not None else (tuple(range(self.d_model)),) * self.depth


def _check_kept(kept: tuple[tuple[int, ...], ...], depth: int, d_model: int) -> None:
    if len(kept) != depth:
        raise ValueError(f"kept must list {depth} layers, found {len(kept)}")
    for layer, channels in enumerate(kept):
        ascending = list(channels) == sorted(set(channels))
        if not channels or not ascending or channels[0] < 0 or channels[-1] >= d_model:
            raise ValueError(f"kept[{layer}] must be ascending, not empty and within [0, {d_model})")
