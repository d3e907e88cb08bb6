"""Masking what a plan prunes, and cutting out what is masked: the outputs stay what the masks made them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from host.models.classifier import Block, Classifier
from host.models.config import ModelConfig
from host.models.layer import SSMLayer, ssm_layers

__all__ = [
    "apply_plan",
    "compact",
    "compact_config",
    "compact_layer",
    "compact_state",
    "layer_state",
    "planned_config",
]


def apply_plan(model: nn.Module, plan: Any, mode_score: str = "hinf") -> None:
    """Mask what `plan` (host.pruning.plan) does not keep, layer by layer in the order of `ssm_layers`.

    Where the plan names fewer states than there are, `mode_score` (host.pruning.states) chooses which go; a
    layer that keeps that many already stays as it is. The plan speaks of the model that had all its channels.

    Raises ValueError when the plan is of another number of layers, names an operator or a channel that was
    cut out or more states than there are, or has features and the model is no Classifier.
    """
    layers = tuple(ssm_layers(model).values())
    if len(layers) != len(plan.kept):
        raise ValueError(f"the plan has {len(plan.kept)} layers, the model {len(layers)}")
    kept = plan.kept
    if isinstance(model, Classifier):
        kept = _with_features(model, plan)
    elif plan.features is not None:
        raise ValueError(f"the plan has features, which a {type(model).__name__} has not: use a Classifier")
    for layer, channels in zip(layers, kept, strict=True):
        layer.set_kept_operators(channels)
    _choose_states(layers, plan.states, mode_score)


def compact(model: Classifier) -> Classifier:
    """A copy of `model` without what is masked; same mode, device, dtype, outputs."""
    small = Classifier(compact_config(model)).to(next(model.parameters()))
    small.load_state_dict(compact_state(model))
    return small.train(model.training)


def compact_config(model: Classifier) -> ModelConfig:
    """The config of `compact(model)`: everything its latency depends on, and what was left of what."""
    config, features = model.config, model.kept_features()
    cut: dict[str, Any] = {"kept": _among(features, model.kept_operators())}
    if model.states() != (config.d_state,) * config.depth:
        cut["states"] = model.states()
    if len(features) < config.d_model:
        names = config.original_channels()
        cut["features"] = tuple(names[channel] for channel in features)
        cut |= {"d_model": len(features), "full_d_model": config.full_d_model or config.d_model}
    return ModelConfig.model_validate(config.model_dump() | cut)


def planned_config(config: ModelConfig, plan: Any) -> ModelConfig:
    """The config that `compact` would give a model of the unpruned `config` after `plan`, without a model."""
    cut: dict[str, Any] = {"kept": plan.kept}
    if plan.states is not None and set(plan.states) != {config.d_state}:
        cut["states"] = plan.states
    if plan.features is not None and len(plan.features) < config.d_model:
        cut["kept"] = _among(plan.features, plan.kept)
        cut |= {"features": plan.features, "d_model": len(plan.features), "full_d_model": config.d_model}
    return ModelConfig.model_validate(config.model_dump() | cut)


def compact_state(model: Classifier) -> dict[str, Tensor]:
    """The state dict of `compact(model)`."""
    features = model.feature_mask
    kept = features.nonzero().flatten()
    state = dict(model.state_dict())
    state["feature_mask"] = torch.ones_like(kept, dtype=torch.bool)
    channel_axes = {"encoder.weight": 1 if isinstance(model.encoder, nn.Embedding) else 0, "head.weight": 1}
    if "encoder.bias" in state:
        channel_axes["encoder.bias"] = 0
    for name, axis in channel_axes.items():
        state[name] = state[name].index_select(axis, kept)
    for index, block in enumerate(model.blocks):
        ssm = {f"ssm.{name}": tensor for name, tensor in layer_state(block.ssm, features).items()}
        own = ssm | _block_state(block, kept)
        state |= {f"blocks.{index}.{name}": tensor for name, tensor in own.items()}
    return {name: tensor.detach() for name, tensor in state.items()}


def _block_state(block: Block, features: Tensor) -> dict[str, Tensor]:
    """The norm and the GLU among the channels `features`; values and gates are H rows of the GLU each."""
    state = {
        f"norm.{name}": tensor.index_select(0, features) if tensor.ndim else tensor
        for name, tensor in block.norm.state_dict().items()
    }
    rows = torch.cat([features, features + len(block.ssm.mask)])
    state["mix.weight"] = block.mix.weight.index_select(0, rows).index_select(1, features)
    state["mix.bias"] = block.mix.bias.index_select(0, rows)
    return state


def compact_layer(layer: SSMLayer) -> SSMLayer:
    """A copy of `layer` without what is masked; same mode, device, dtype, outputs."""
    small = SSMLayer(
        layer.num_channels, kind=layer.kind, d_state=layer.states(), channels=layer.kept_operators()
    ).to(layer.d)
    small.load_state_dict(layer_state(layer, torch.ones_like(layer.mask)))
    return small.train(layer.training)


def layer_state(ssm: SSMLayer, features: Tensor) -> dict[str, Tensor]:
    """The state dict of a layer that is left with the channels where `features` (H,) is true.

    That is its kept operators among them, with their kept conjugate pairs.
    """
    own = ssm.operators
    rows = (ssm.mask & features)[ssm.channels].nonzero().flatten()
    modes = own.kept_modes[rows].nonzero()[:, 1].view(len(rows), -1)  # (Hk, kept pairs)
    state = {name: getattr(own, name).index_select(0, rows) for name in own.parameter_names}
    for name in own.mode_parameter_names:
        state[name] = state[name][torch.arange(len(rows), device=rows.device)[:, None], modes]
    state["kept_modes"] = torch.ones_like(modes, dtype=torch.bool)
    state = {f"operators.{name}": tensor.detach() for name, tensor in state.items()}
    return state | {"d": ssm.d.detach().index_select(0, rows), "mask": ssm.mask[features]}


def _among(features: Iterable[int], kept: Iterable[Iterable[int]]) -> tuple[tuple[int, ...], ...]:
    """`kept` channels by their positions among `features`. Raises ValueError for one that is not there."""
    position = {channel: index for index, channel in enumerate(features)}
    missing = sorted({channel for layer in kept for channel in layer} - position.keys())
    if missing:
        raise ValueError(f"channels {missing} were cut out and cannot be kept")
    return tuple(tuple(position[channel] for channel in layer) for layer in kept)


def _with_features(model: Classifier, plan: Any) -> tuple[tuple[int, ...], ...]:
    """Mask the residual stream as the plan says; its kept operators in the model's own numbering."""
    own = model.config.original_channels()
    (features,) = _among(own, [own if plan.features is None else plan.features])
    for layer, (block, channels) in enumerate(zip(model.blocks, plan.kept, strict=True)):
        missing = sorted(set(channels) - {own[channel] for channel in block.ssm.channels.tolist()})
        if missing:
            raise ValueError(f"layer {layer}: operators {missing} were cut out and cannot be kept")
    kept = _among(own, plan.kept)
    for block, channels in zip(model.blocks, kept, strict=True):
        block.ssm.set_kept_operators(channels)  # first: a layer may come back with other operators
    model.set_kept_features(features)
    return kept


def _choose_states(layers: tuple[SSMLayer, ...], states: tuple[int, ...] | None, score: str) -> None:
    from host.pruning.states import choose_layer_modes  # host.pruning imports this package

    for index, layer in enumerate(layers):
        count = layer.d_state if states is None else states[index]
        if count != layer.states():
            layer.set_kept_modes(choose_layer_modes(layer, count // 2, score, where=f"layer {index}"))
