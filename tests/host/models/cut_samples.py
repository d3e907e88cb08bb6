"""Small models of every kind from which operators, channels and states are taken."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from host.models import Classifier, ModelConfig
from host.pruning.states import choose_modes, set_kept_modes

LENGTH = 70
FEATURES = (0, 2, 3, 5, 7)
KEPT = ((0, 2, 3, 5, 7), (2, 5), (7,))  # operators of FEATURES
STATES = (16, 6, 2)
INPUTS: dict[str, dict[str, Any]] = {"continuous": {"d_input": 2}, "tokens": {"vocab_size": 11}}
VARIANTS = list(itertools.product(["s4d", "s4"], ["layer", "batch"], [False, True], INPUTS, [False, True]))


def whole_model(
    kind: str = "s4d",
    norm: str = "layer",
    prenorm: bool = False,
    inputs: str = "continuous",
    padded: bool = False,
    **more: Any,
) -> Classifier:
    """Three layers of random weights with nothing pruned, in eval mode."""
    torch.manual_seed(0)
    sizes = {"num_classes": 3, "seq_len": LENGTH, "d_model": 8, "d_state": 16, "depth": 3} | more
    config = ModelConfig(kind=kind, norm=norm, prenorm=prenorm, padded=padded, **INPUTS[inputs], **sizes)
    model = Classifier(config)
    with torch.no_grad():
        for parameter in model.parameters():  # off the initial point: what training would find
            parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
    model(*sample_inputs(config, 16))  # batch norm has seen something
    return model.eval()


def cut_model(*variant: Any, **more: Any) -> Classifier:
    """`whole_model` with operators, channels and states masked."""
    model = whole_model(*variant, **more)
    model.set_kept_features(FEATURES)
    model.set_kept_operators(KEPT)
    set_kept_modes(model, choose_modes(model, [count // 2 for count in STATES]))
    return model


def sample_inputs(config: ModelConfig, batch: int) -> tuple[torch.Tensor, ...]:
    """Random input, and lengths where the model is padded."""
    if config.vocab_size is not None:
        x = torch.randint(0, config.vocab_size, (batch, config.seq_len))
    else:
        x = torch.randn(batch, config.seq_len, config.d_input or 0)
    return (x, torch.randint(1, config.seq_len + 1, (batch,))) if config.padded else (x,)
