"""Cutting pruned operators out of a model: what export sees. Outputs stay what the masks made them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from host.models.classifier import Classifier
from host.models.layer import ssm_layers

__all__ = ["apply_plan", "compact"]


def apply_plan(model: nn.Module, plan: Any) -> None:
    """Mask every operator that `plan.kept` does not list (host.pruning.plan), layer by layer as `ssm_layers`.

    Raises ValueError when the plan is of another number of layers, or as `SSMLayer.set_mask` does.
    """
    layers = ssm_layers(model).values()
    if len(layers) != len(plan.kept):
        raise ValueError(f"the plan has {len(plan.kept)} layers, the model {len(layers)}")
    for layer, channels in zip(layers, plan.kept, strict=True):
        layer.set_kept_operators(channels)


def compact(model: Classifier) -> Classifier:
    """A copy of `model` without its masked operators' parameters; same mode, device, dtype, outputs."""
    small = Classifier(model.config.model_copy(update={"kept": model.kept_operators()}))
    small = small.to(next(model.parameters()))
    state = dict(model.state_dict())
    for index, block in enumerate(model.blocks):
        rows = block.ssm.kept_rows()
        names = [f"operators.{name}" for name in block.ssm.operators.parameter_names]
        for name in (*names, "d"):
            key = f"blocks.{index}.ssm.{name}"
            state[key] = torch.index_select(state[key], 0, rows)
    small.load_state_dict(state)
    return small.train(model.training)
