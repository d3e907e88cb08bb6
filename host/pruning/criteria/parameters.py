"""The size of what an operator is made of."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from host.models.layer import SSMLayer, ssm_layers
from host.models.s4 import S4Operators
from host.pruning.calibration import Calibration
from host.pruning.criteria.contract import CRITERIA, checked_scores, scores_of_rows

__all__ = ["magnitude"]


@CRITERIA.register("magnitude")
@torch.no_grad()
def magnitude(
    model: nn.Module, calibration: Calibration | None, generator: np.random.Generator
) -> list[np.ndarray]:
    """L2 norm of the weights that a sample meets on its way through the operator; needs no data.

    sqrt(sum_m (2 dt |B_m| |C_m|)^2 + (d - 1)^2) over the conjugate pairs m that take part. S4D's B is 1. A
    pair adds about 2 Re(dt B_m C_m) to the kernel's first sample, and an operator's d is measured from the 1
    of the pass-through that would stand in its place: an operator with C = 0, d = 1 scores 0. Magnitude
    pruning of structures (Li et al. 2017, arXiv 1608.08710), with the input and output weights of a state
    taken together, as their scales can be traded for each other. How long a state rings is not looked at:
    that is `h2`. Raises UsageError for parameters that are not finite.
    """
    scores = [scores_of_rows(layer, _sizes(layer)) for layer in ssm_layers(model).values()]
    return checked_scores("magnitude", model, scores)


def _sizes(layer: SSMLayer) -> Tensor:
    own, rows = layer.operators, layer.kept_rows()
    size = torch.view_as_complex(own.c[rows].double()).abs()  # (Hk, M)
    if isinstance(own, S4Operators):
        size = size * torch.view_as_complex(own.b[rows].double()).abs()
    size = 2 * own.log_dt[rows].double().exp()[:, None] * size.masked_fill(~own.kept_modes[rows], 0.0)
    return (size.square().sum(dim=1) + (layer.d[rows].double() - 1).square()).sqrt()
