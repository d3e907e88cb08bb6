"""What a criterion is, and what all of them share: their data, and the check of their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from edge_s4op.errors import UsageError
from host.models.layer import SSMLayer, ssm_layers
from host.pruning.calibration import Calibration
from host.pruning.registry import Registry

__all__ = ["CRITERIA", "NEEDS_DATA", "Criterion", "checked_scores", "needed_data", "scores_of_rows"]

Criterion = Callable[[nn.Module, Calibration | None, np.random.Generator], list[np.ndarray]]

CRITERIA: Registry[Criterion] = Registry("criterion")

NEEDS_DATA = frozenset({"fisher", "output-change", "taylor"})
"""The names of the criteria here that look at calibration data."""


def needed_data(name: str, calibration: Calibration | None) -> Calibration:
    """`calibration`. Raises UsageError, which offers the criteria that need no data, when it is None."""
    if calibration is not None:
        return calibration
    without = ", ".join(other for other in CRITERIA.names() if other not in NEEDS_DATA)
    raise UsageError(
        f"criterion {name!r} needs training data",
        expected="calibration batches and the loss of each of their samples",
        found="none",
        fix=f"give calibration data, or use one that needs none: {without}",
    )


def checked_scores(name: str, model: nn.Module, scores: Sequence[Tensor]) -> list[np.ndarray]:
    """`scores` (H,) per layer as a criterion returns them: float64, 0 where an operator is pruned.

    Raises UsageError, which names criterion, layer and operators, for a NaN or an infinity.
    """
    return [
        _checked(name, path, layer, own)
        for (path, layer), own in zip(ssm_layers(model).items(), scores, strict=True)
    ]


def scores_of_rows(layer: SSMLayer, values: Tensor) -> Tensor:
    """One score for each of `layer.kept_rows()` -> one for each operator, (H,): 0 for the pruned ones."""
    kept = layer.channels[layer.kept_rows()]
    return values.new_zeros(layer.num_channels).index_copy(0, kept, values)


def _checked(name: str, path: str, layer: SSMLayer, scores: Tensor) -> np.ndarray:
    scores = scores.detach().double().masked_fill(~layer.mask, 0.0)
    bad = (~torch.isfinite(scores)).nonzero().flatten().tolist()
    if bad:
        shown = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
        raise UsageError(
            f"criterion {name!r} cannot score layer {path or 'of the model'!r}",
            expected="one finite number for every operator",
            found=f"NaN or infinity for {len(bad)} of {len(scores)}: {shown}",
            fix="prune a checkpoint whose training did not diverge"
            + (", and look for NaN in the calibration data" if name in NEEDS_DATA else ""),
        )
    return scores.cpu().numpy()
