"""Parameters and multiply-accumulates of a model as it is exported, pruned operators not counted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_s4op.op_body import chunk_length
from host.models.classifier import Classifier
from host.models.config import ModelConfig

__all__ = ["count_macs", "count_parameters"]


def count_parameters(model: Classifier) -> int:
    """Trainable parameters left when the masked operators are cut out."""
    total = sum(parameter.numel() for parameter in model.parameters())
    for block in model.blocks:
        ssm = block.ssm
        gone = len(ssm.channels) - len(ssm.kept_operators())
        own = [ssm.d, *ssm.operators.parameters()]
        total -= gone * sum(parameter[0].numel() for parameter in own)
    return total


def count_macs(config: ModelConfig, kept: Sequence[Sequence[int]]) -> int:
    """Real multiply-accumulates of one sequence, matrix products of the exported file only.

    Per layer: 2 H H L for the GLU's mixing; per kept operator and chunk of T samples T^2 for the
    Toeplitz block and, where there is more than one chunk, 2 N T for the state going in and out and
    2 N (S4D) or N^2 (S4) for the state's own step. Input and head are counted; norms are not.
    """
    length, width, states = config.seq_len, config.d_model, config.d_state
    chunk = chunk_length(length)
    chunks = math.ceil(length / chunk)
    operator = chunks * chunk * chunk
    if chunks > 1:
        own_step = 2 * states if config.kind == "s4d" else states * states
        operator += chunks * (2 * states * chunk + own_step)
    total = (config.d_input or 0) * width * length + width * config.num_classes
    return total + sum(2 * width * width * length + len(layer) * operator for layer in kept)
