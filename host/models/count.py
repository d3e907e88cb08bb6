"""Parameters and multiply-accumulates of a model as it is exported: what is pruned does not count."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_s4op.op_body import chunk_length
from host.models.classifier import Classifier
from host.models.config import ModelConfig
from host.models.surgery import compact_state

__all__ = ["count_macs", "count_parameters", "operator_macs"]


def count_parameters(model: Classifier) -> int:
    """Trainable parameters left when everything masked is cut out: operators, states, channels."""
    left = compact_state(model)
    return sum(left[name].numel() for name, _ in model.named_parameters())


def count_macs(config: ModelConfig, kept: Sequence[Sequence[int]]) -> int:
    """Real multiply-accumulates of one sequence, matrix products of the exported file only.

    Per layer: 2 H H L for the GLU's mixing; per kept operator and chunk of T samples T^2 for the
    Toeplitz block and, where there is more than one chunk, 2 N T for the state going in and out and
    2 N (S4D) or N^2 (S4) for the state's own step, with N the layer's states. Input and head are counted;
    norms are not. H and N are the config's: of a masked model give `compact_config(model)` and its `kept`.
    """
    length, width = config.seq_len, config.d_model
    total = (config.d_input or 0) * width * length + width * config.num_classes
    for layer, states in zip(kept, config.layer_states(), strict=True):
        total += 2 * width * width * length + len(layer) * operator_macs(config.kind, states, length)
    return total


def operator_macs(kind: str, states: int, seq_len: int) -> int:
    """Real multiply-accumulates of one kept operator and one sequence; `states` are its real states N."""
    chunk = chunk_length(seq_len)
    chunks = math.ceil(seq_len / chunk)
    if chunks == 1:
        return chunk * chunk
    own_step = 2 * states if kind == "s4d" else states * states
    return chunks * (chunk * chunk + 2 * states * chunk + own_step)
