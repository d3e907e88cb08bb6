"""Marking the parameters of the state space itself, which the optimiser treats apart."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["is_ssm_parameter", "ssm_parameter"]


def ssm_parameter(value: Tensor) -> nn.Parameter:
    """A parameter of dt, A, B or P: it gets its own learning rate and no weight decay."""
    parameter = nn.Parameter(value)
    parameter._ssm = True  # type: ignore[attr-defined]
    return parameter


def is_ssm_parameter(parameter: nn.Parameter) -> bool:
    """Whether `parameter` was made by `ssm_parameter`."""
    return bool(getattr(parameter, "_ssm", False))
