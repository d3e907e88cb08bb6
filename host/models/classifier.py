"""The sequence classifier around S4 and S4D layers, as the S4oP paper uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from host.models.config import ModelConfig
from host.models.layer import SSMLayer
from host.models.masks import register_mask
from host.models.normalization import weighted_layer_norm
from host.models.s4 import DenseRecurrence
from host.models.s4d import DiagonalRecurrence

__all__ = ["Block", "Classifier", "Stepper", "StepperState"]


class Block(nn.Module):
    """Residual block: ssm -> gelu -> GLU(W y + b), H -> 2H -> H, with the norm before or after.

    `features` (H,) or (B, H), None: all ones, is what every channel that the block writes is multiplied by.
    """

    def __init__(self, config: ModelConfig, channels: tuple[int, ...], d_state: int) -> None:
        super().__init__()
        self.prenorm = config.prenorm
        self.ssm = SSMLayer(
            config.d_model,
            kind=config.kind,
            d_state=d_state,
            dt_min=config.dt_min,
            dt_max=config.dt_max,
            channels=channels,
        )
        self.mix = nn.Conv1d(config.d_model, 2 * config.d_model, kernel_size=1)
        norms = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
        self.norm = norms[config.norm](config.d_model)
        self.dropout_channels = nn.Dropout1d(config.dropout)  # one draw per channel, all of L
        self.dropout = nn.Dropout(config.dropout)

    def normalize(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """The block's norm over channels, x (B, H, L); LayerNorm's statistics are weighted by `features`."""
        if isinstance(self.norm, nn.LayerNorm):
            if features is None:
                return self.norm(x.transpose(1, 2)).transpose(1, 2)
            return _scaled(weighted_layer_norm(self.norm, x, features), features)
        return _scaled(self.norm(x), features)

    def mixed(self, y: Tensor, features: Tensor | None = None) -> Tensor:
        """GLU(W gelu(y) + b), y (B, H, L)."""
        y = self.dropout_channels(functional.gelu(y))
        return _scaled(self.dropout(functional.glu(self.mix(y), dim=1)), features)

    def forward(self, x: Tensor, features: Tensor | None = None) -> Tensor:  # (B, H, L)
        if self.prenorm:
            return x + self.mixed(self.ssm(self.normalize(x, features)), features)
        return self.normalize(x + self.mixed(self.ssm(x), features), features)


def _scaled(x: Tensor, features: Tensor | None) -> Tensor:
    """x (B, H, L) times `features` (H,) or (B, H)."""
    return x if features is None else x * features[..., None]


class Classifier(nn.Module):
    """Embedding or linear input, `depth` blocks, mean over the real positions, linear head.

    x is float32 (B, L, d_input) or int64 tokens (B, L); `lengths` int64 (B,) must be given exactly when
    the config says `padded`. Returns logits (B, num_classes).

    `feature_mask` (H,) bool says which channels of the residual stream are kept. The others are zero wherever
    they are written (by the encoder, the blocks and their norms) and do not count in LayerNorm's statistics,
    so that the kept ones compute what the model without the others does: `host.models.surgery` makes it.

    `feature_gate` is None, or a tensor (H,) or (B, H) that fades channels out: it multiplies where the mask
    does and weighs LayerNorm's statistics. At 1 nothing changes, 0 is the mask. No checkpoint holds it.
    """

    feature_mask: Tensor
    feature_gate: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        if config.vocab_size is not None:
            self.encoder: nn.Module = nn.Embedding(config.vocab_size, config.d_model)
        else:
            assert config.d_input is not None
            self.encoder = nn.Linear(config.d_input, config.d_model)
        layers = zip(config.kept_operators(), config.layer_states(), strict=True)
        self.blocks = nn.ModuleList(Block(config, channels, d_state) for channels, d_state in layers)
        self.head = nn.Linear(config.d_model, config.num_classes)
        self.feature_gate = None
        register_mask(self, "feature_mask", (config.d_model,))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if (lengths is not None) != self.config.padded:
            wanted = "needs lengths" if self.config.padded else "takes no lengths"
            raise ValueError(f"this model {wanted} (padded={self.config.padded})")
        features = self.feature_weights()
        h = _scaled(self.encoder(x).transpose(1, 2), features)  # (B, H, L)
        for block in self.blocks:
            h = block(h, features)
        return self.head(_mean(h, lengths))

    def kept_operators(self) -> tuple[tuple[int, ...], ...]:
        """Kept operators per layer, as channels in [0, d_model); an operator of a removed channel is none.

        In a model whose removed channels were cut out these count the channels that are left:
        `config.original_channels` says what they were.
        """
        features = set(self.kept_features())
        return tuple(
            tuple(channel for channel in block.ssm.kept_operators() if channel in features)
            for block in self.blocks
        )

    def set_kept_operators(self, kept: Sequence[Sequence[int]]) -> None:
        """Mask every operator that `kept` does not list.

        Raises ValueError as SSMLayer.set_mask does, and for an operator of a removed channel.
        """
        if len(kept) != len(self.blocks):
            raise ValueError(f"expected kept operators of {len(self.blocks)} layers, found {len(kept)}")
        for layer, channels in enumerate(kept):
            removed = sorted(set(channels) & set((~self.feature_mask).nonzero().flatten().tolist()))
            if removed:
                raise ValueError(f"layer {layer}: operators {removed} have no channel: it was removed")
        for block, channels in zip(self.blocks, kept, strict=True):
            block.ssm.set_kept_operators(channels)

    def kept_features(self) -> tuple[int, ...]:
        """Kept channels of the residual stream, ascending, in [0, d_model)."""
        return tuple(self.feature_mask.nonzero().flatten().tolist())

    def set_kept_features(self, features: Sequence[int]) -> None:
        """Keep exactly the channels `features` of the residual stream; operators of the others are masked.

        Operators that were masked stay so, also where their channel comes back. Raises ValueError for no
        channel, for one outside [0, d_model), or when a layer would keep no operator.
        """
        unknown = sorted(set(features) - set(range(self.config.d_model)))
        if unknown or not features:
            raise ValueError(
                f"features must be one or more channels within [0, {self.config.d_model}), "
                f"found {unknown or 'none'}"
            )
        mask = torch.zeros_like(self.feature_mask)
        mask[list(features)] = True
        for layer, block in enumerate(self.blocks):
            if not torch.any(block.ssm.mask & mask):
                raise ValueError(
                    f"layer {layer} would keep no operator: keep the channel of one of "
                    f"{list(block.ssm.kept_operators())}"
                )
        for block in self.blocks:
            block.ssm.set_mask(block.ssm.mask & mask)
        self.feature_mask.copy_(mask)

    def feature_weights(self) -> Tensor | None:
        """Mask times gate, (H,) or (B, H): what multiplies the residual stream; None: ones."""
        if self.feature_gate is None and bool(self.feature_mask.all()):
            return None
        mask = self.feature_mask.to(self.head.weight.dtype)
        return mask if self.feature_gate is None else mask * self.feature_gate

    def states(self) -> tuple[int, ...]:
        """Real states that each operator keeps, per layer."""
        return tuple(block.ssm.states() for block in self.blocks)

    def stepper(self) -> Stepper:
        """The same model, sample by sample with carried state. Use in eval mode."""
        recurrences = tuple(block.ssm.operators.recurrence() for block in self.blocks)
        return Stepper(self, recurrences, self.feature_weights())


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
    features: Tensor | None = None

    def initial_state(self, batch: int) -> StepperState:
        layers = tuple(recurrence.initial_state(batch) for recurrence in self.recurrences)
        weight = self.model.head.weight
        return StepperState(layers, weight.new_zeros(batch, weight.shape[1]), 0)

    def step(self, x: Tensor, state: StepperState) -> tuple[Tensor, StepperState]:
        """One sample, (B, d_input) or tokens (B,), -> logits (B, num_classes) of the mean so far."""
        features = self.features
        h = _scaled(self.model.encoder(x)[..., None], features)  # (B, H, 1)
        layers = []
        for block, recurrence, s in zip(self.model.blocks, self.recurrences, state.layers, strict=True):
            z = block.normalize(h, features) if block.prenorm else h
            y, s = _step_layer(block.ssm, recurrence, z[..., 0], s)
            h = h + block.mixed(y[..., None], features)
            h = h if block.prenorm else block.normalize(h, features)
            layers.append(s)
        new = StepperState(tuple(layers), state.total + h[..., 0], state.samples + 1)
        return self.model.head(new.total / new.samples), new


def _step_layer(
    ssm: SSMLayer, recurrence: DiagonalRecurrence | DenseRecurrence, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    mine = u[:, ssm.channels]
    y, state = recurrence.step(mine, state)
    y = u.index_copy(1, ssm.channels, y + ssm.d * mine)
    return torch.where(ssm.mask, y, u), state
