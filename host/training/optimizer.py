"""AdamW with SSM parameters in a group of their own.

dt and A set the time scales of a kernel and enter it through exp: a rate that suits the linear layers
makes them jump, and decay would pull every time scale towards one value. So they get their own rate
and no decay, as in S4 (Gu et al. 2022, arXiv 2111.00396, appendix D.1).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from edge_s4op.errors import UsageError
from host.models.parameters import is_ssm_parameter
from host.training.config import TrainConfig

__all__ = ["build_optimizer", "parameter_groups", "set_learning_rate"]


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, object]]:
    """AdamW's groups, each with its `name` and the rate at the schedule's peak (`peak_lr`).

    `ssm`: what `is_ssm_parameter` says (own rate, no decay). `no_decay`: vectors, that is biases, norm
    scales and the skip D, which is a scale per channel as theirs is. `decay`: every matrix.
    Raises UsageError for a model without a marked parameter.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    ssm = [p for p in trained if is_ssm_parameter(p)]
    others = [p for p in trained if not is_ssm_parameter(p)]
    if not ssm:
        raise UsageError(
            "the model has no parameter marked as SSM, so none would get its own learning rate",
            # measured with torch 2.13: the attribute does not survive copy.deepcopy of a Parameter
            fix="copy models with Classifier(config) and load_state_dict: copy.deepcopy drops the marks",
        )
    groups = [
        _group("ssm", ssm, config.ssm_lr, 0.0),
        _group("no_decay", (p for p in others if p.ndim <= 1), config.lr, 0.0),
        _group("decay", (p for p in others if p.ndim > 1), config.lr, config.weight_decay),
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`. Build it after the model is on its device."""
    return torch.optim.AdamW(parameter_groups(model, config))


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to its peak times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def _group(name: str, params: Iterable[nn.Parameter], lr: float, decay: float) -> dict[str, object]:
    return {"name": name, "params": list(params), "lr": lr, "peak_lr": lr, "weight_decay": decay}
