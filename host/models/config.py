"""What a classifier is made of, as one frozen value that travels with every checkpoint."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ModelConfig"]


class ModelConfig(BaseModel):
    """Shape of an S4 or S4D classifier.

    Exactly one of `d_input` (continuous channels) and `vocab_size` (tokens) is set. `d_state` counts
    real states: N = 64 means 32 conjugate pairs.

    A model that was cut smaller says what is left; None: all of it.
    `kept`      the kept operators of each layer, ascending, as channels in [0, `d_model`);
    `states`    real states per operator of each layer, even, at most `d_state`;
    `features`  the `d_model` channels of the residual stream that are left, ascending, as channels of the
                model whose `full_d_model` channels were all there. `kept` counts within those left:
                `original_channels` translates.
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
    states: tuple[int, ...] | None = None
    features: tuple[int, ...] | None = None
    full_d_model: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if (self.d_input is None) == (self.vocab_size is None):
            raise ValueError("exactly one of d_input and vocab_size must be set")
        if self.dt_min > self.dt_max:
            raise ValueError(f"dt_min {self.dt_min} must not exceed dt_max {self.dt_max}")
        if self.kept is not None:
            _check_kept(self.kept, self.depth, self.d_model)
        if self.states is not None:
            _check_states(self.states, self.depth, self.d_state)
        _check_features(self.features, self.d_model, self.full_d_model)
        return self

    def kept_operators(self) -> tuple[tuple[int, ...], ...]:
        """Kept channel indices per layer: `kept`, or every channel."""
        return self.kept if self.kept is not None else (tuple(range(self.d_model)),) * self.depth

    def layer_states(self) -> tuple[int, ...]:
        """Real states per operator of each layer: `states`, or `d_state` everywhere."""
        return self.states if self.states is not None else (self.d_state,) * self.depth

    def original_channels(self) -> tuple[int, ...]:
        """What each of the `d_model` channels is called in the model that had them all."""
        return self.features if self.features is not None else tuple(range(self.d_model))


def _check_kept(kept: tuple[tuple[int, ...], ...], depth: int, d_model: int) -> None:
    if len(kept) != depth:
        raise ValueError(f"kept must list {depth} layers, found {len(kept)}")
    for layer, channels in enumerate(kept):
        ascending = list(channels) == sorted(set(channels))
        if not channels or not ascending or channels[0] < 0 or channels[-1] >= d_model:
            raise ValueError(f"kept[{layer}] must be ascending, not empty and within [0, {d_model})")


def _check_states(states: tuple[int, ...], depth: int, d_state: int) -> None:
    if len(states) != depth:
        raise ValueError(f"states must list {depth} layers, found {len(states)}")
    for layer, count in enumerate(states):
        if count % 2 or not 2 <= count <= d_state:
            raise ValueError(f"states[{layer}] must be even and within [2, {d_state}], found {count}")


def _check_features(features: tuple[int, ...] | None, d_model: int, full_d_model: int | None) -> None:
    if (features is None) != (full_d_model is None):
        raise ValueError("features and full_d_model must be set together")
    if features is None or full_d_model is None:
        return
    ascending = list(features) == sorted(set(features))
    if len(features) != d_model or not ascending or features[0] < 0 or features[-1] >= full_d_model:
        raise ValueError(f"features must be {d_model} channels, ascending and within [0, {full_d_model})")
