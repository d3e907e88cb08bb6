"""The sequence classifier around S4 and S4D layers, as the S4oP paper uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from host.models.config import ModelConfig
from host.models.layer import SSMLayer
from host.models.s4 import DenseRecurrence
from host.models.s4d import DiagonalRecurrence

__all__ = ["Block", "Classifier", "Stepper", "StepperState"]


class Block(nn.Module):
    """Residual block: ssm -> gelu -> GLU(W y + b), H -> 2H -> H, with the norm before or after."""

    def __init__(self, config: ModelConfig, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.prenorm = config.prenorm
        self.ssm = SSMLayer(
            config.d_model,
            kind=config.kind,
            d_state=config.d_state,
            dt_min=config.dt_min,
            dt_max=config.dt_max,
            channels=channels,
        )
        self.mix = nn.Conv1d(config.d_model, 2 * config.d_model, kernel_size=1)
        norms = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
        self.norm = norms[config.norm](config.d_model)
        self.dropout_channels = nn.Dropout1d(config.dropout)  # one draw per channel, all of L
        self.dropout = nn.Dropout(config.dropout)

    def normalize(self, x: Tensor) -> Tensor:
        """The block's norm over channels, x (B, H, L)."""
        if isinstance(self.norm, nn.LayerNorm):
            return self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.norm(x)

    def mixed(self, y: Tensor) -> Tensor:
        """GLU(W gelu(y) + b), y (B, H, L)."""
        y = self.dropout_channels(functional.gelu(y))
        return self.dropout(functional.glu(self.mix(y), dim=1))

    def forward(self, x: Tensor) -> Tensor:  # (B, H, L)
        if self.prenorm:
            return x + self.mixed(self.ssm(self.normalize(x)))
        return self.normalize(x + self.mixed(self.ssm(x)))


class Classifier(nn.Module):
    """Embedding or linear input, `depth` blocks, mean over the real positions, linear head.

    x is float32 (B, L, d_input) or int64 tokens (B, L); `lengths` int64 (B,) must be given exactly when
    the config says `padded`. Returns logits (B, num_classes).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        if config.vocab_size is not None:
            self.encoder: nn.Module = nn.Embedding(config.vocab_size, config.d_model)
        else:
            assert config.d_input is not None
            self.encoder = nn.Linear(config.d_input, config.d_model)
        self.blocks = nn.ModuleList(Block(config, channels) for channels in config.kept_operators())
        self.head = nn.Linear(config.d_model, config.num_classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if (lengths is not None) != self.config.padded:
            wanted = "needs lengths" if self.config.padded else "takes no lengths"
            raise ValueError(f"this model {wanted} (padded={self.config.padded})")
        h = self.encoder(x).transpose(1, 2)  # (B, H, L)
        for block in self.blocks:
            h = block(h)
        return self.head(_mean(h, lengths))

    def kept_operators(self) -> tuple[tuple[int, ...], ...]:
        """Kept channel indices per layer, in the numbering of the unpruned model."""
        return tuple(block.ssm.kept_operators() for block in self.blocks)

    def set_kept_operators(self, kept: Sequence[Sequence[int]]) -> None:
        """Mask every operator that `kept` does not list. Raises ValueError as SSMLayer.set_mask does."""
        if len(kept) != len(self.blocks):
            raise ValueError(f"expected kept operators of {len(self.blocks)} layers, found {len(kept)}")
        for block, channels in zip(self.blocks, kept, strict=True):
            block.ssm.set_kept_operators(channels)

    def stepper(self) -> Stepper:
        """The same model, sample by sample with carried state. Use in eval mode."""
        return Stepper(self, tuple(block.ssm.operators.recurrence() for block in self.blocks))


def _mean(h: Tensor, lengths: Tensor | None) -> Tensor:
    """Mean over L of (B, H, L), over the first `lengths` positions where given: (B, H)."""
    if lengths is None:
        return h.mean(dim=-1)
    real = torch.arange(h.shape[-1], device=h.device) < lengths[:, None]  # (B, L)
    return (h * real[:, None]).sum(dim=-1) / lengths[:, None]


@dataclass(frozen=True)
class StepperState:
    """State of every layer, the sum of the features so far (B, H), and how many samples it holds."""

    layers: tuple[Tensor, ...]
    total: Tensor
    samples: int


@dataclass(frozen=True)
class Stepper:
    """Runs a classifier as a recurrence; after L samples its logits equal the convolution's."""

    model: Classifier
    recurrences: tuple[DiagonalRecurrence | DenseRecurrence, ...]

    def initial_state(self, batch: int) -> StepperState:
        layers = tuple(recurrence.initial_state(batch) for recurrence in self.recurrences)
        weight = self.model.head.weight
        return StepperState(layers, weight.new_zeros(batch, weight.shape[1]), 0)

    def step(self, x: Tensor, state: StepperState) -> tuple[Tensor, StepperState]:
        """One sample, (B, d_input) or tokens (B,), -> logits (B, num_classes) of the mean so far."""
        h = self.model.encoder(x)  # (B, H)
        layers = []
        for block, recurrence, s in zip(self.model.blocks, self.recurrences, state.layers, strict=True):
            z = block.normalize(h[..., None])[..., 0] if block.prenorm else h
            y, s = _step_layer(block.ssm, recurrence, z, s)
            h = h + block.mixed(y[..., None])[..., 0]
            h = h if block.prenorm else block.normalize(h[..., None])[..., 0]
            layers.append(s)
        new = StepperState(tuple(layers), state.total + h, state.samples + 1)
        return self.model.head(new.total / new.samples), new


def _step_layer(
    ssm: SSMLayer, recurrence: DiagonalRecurrence | DenseRecurrence, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    mine = u[:, ssm.channels]
    y, state = recurrence.step(mine, state)
    y = u.index_copy(1, ssm.channels, y + ssm.d * mine)
    return torch.where(ssm.mask, y, u), state
