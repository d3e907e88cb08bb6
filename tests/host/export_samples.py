"""Small models of every kind, partly pruned, for the tests of exported files."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from host.models import Classifier, ModelConfig

KEPT = ((0, 1, 2, 3, 4, 5, 6, 7), (1, 5), (7,))
INPUTS: dict[str, dict[str, Any]] = {"continuous": {"d_input": 2}, "tokens": {"vocab_size": 11}}
VARIANTS = list(itertools.product(["s4d", "s4"], ["layer", "batch"], [False, True], INPUTS, [False, True]))


def sample_model(kind: str = "s4d", inputs: str = "continuous", length: int = 70, **more: Any) -> Classifier:
    """Three layers of random weights, the later two pruned; `more` goes to ModelConfig."""
    torch.manual_seed(0)
    config = ModelConfig(
        kind=kind, num_classes=3, seq_len=length, d_model=8, d_state=16, depth=3, **INPUTS[inputs], **more
    )
    model = Classifier(config)
    lengths = torch.randint(1, length + 1, (16,)) if config.padded else None
    model(sample_batch(config, 16), lengths)  # batch norm has seen something
    model.set_kept_operators(KEPT)
    return model.eval()


def sample_batch(config: ModelConfig, size: int) -> torch.Tensor:
    """Random input as the model takes it."""
    if config.vocab_size is not None:
        return torch.randint(0, config.vocab_size, (size, config.seq_len))
    return torch.randn(size, config.seq_len, config.d_input or 0)
