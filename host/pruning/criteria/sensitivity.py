"""What the loss says of an operator: its gradient with respect to the operator's gate, sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_s4op.errors import UsageError
from host.models.layer import SSMLayer, ssm_layers
from host.pruning.calibration import Calibration
from host.pruning.criteria.contract import CRITERIA, checked_scores, needed_data
from host.pruning.criteria.undisturbed import hooked, undisturbed

__all__ = ["fisher", "mean_over_samples", "taylor"]


@CRITERIA.register("taylor")
def taylor(
    model: nn.Module, calibration: Calibration | None, generator: np.random.Generator
) -> list[np.ndarray]:
    """mean_b |d loss_b / d g_bh| at g = 1, g (B, H) the layer's `gate`; one (H,) per layer.

    To first order a sample's loss changes by -d loss_b / d g_bh when operator h is replaced by the
    pass-through (g_h from 1 to 0). The size is taken sample by sample (Molchanov et al. 2017, arXiv
    1611.06440, eq. 8): over a converged training set the mean of the signed changes is nearly 0 for every
    operator, as fading one out is a move of its C and d, along which the mean loss has no slope.
    Dropout is off and batch norm uses its running statistics. One backward pass a batch.
    Raises UsageError without data, and when the scores are not finite.
    """
    data = needed_data("taylor", calibration)
    return checked_scores("taylor", model, mean_over_samples(model, data, torch.abs))


@CRITERIA.register("fisher")
def fisher(
    model: nn.Module, calibration: Calibration | None, generator: np.random.Generator
) -> list[np.ndarray]:
    """mean_b (d loss_b / d g_bh)^2 at g = 1, g (B, H) the layer's `gate`; one (H,) per layer.

    Half the score estimates, to second order, what the mean loss gains when operator h is replaced by the
    pass-through: the Fisher information stands for the Hessian's diagonal, and at a minimum there is no
    first order (Theis et al. 2018, arXiv 1801.05787; Molchanov et al. 2019, arXiv 1906.10771;
    of masks: Kwon et al. 2022, arXiv 2204.09656). All layers' scores are of one scale, the
    loss's. Dropout is off and batch norm uses its running statistics. One backward pass a batch.
    Raises UsageError without data, and when the scores are not finite.
    """
    data = needed_data("fisher", calibration)
    return checked_scores("fisher", model, mean_over_samples(model, data, torch.square))


def mean_over_samples(
    model: nn.Module, calibration: Calibration, of: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """mean_b of(d loss_b / d g_b) per layer, float64 (H,), g_b the gate (H,) of sample b in that layer.

    A layer that a sample passes several times has one gate in all of them: what the calls say is added up
    before `of`. A layer that no loss depends on scores 0. Row b of a layer's input must come from sample b;
    where a layer is given another number of rows than there are losses (two sequences a sample, side by
    side), every sample is differentiated on its own, which is exact too and B times the cost.

    Raises UsageError when there are no batches, or the loss does not depend on any layer.
    """
    layers = list(ssm_layers(model).values())
    totals = [layer.d.new_zeros(layer.num_channels, dtype=torch.float64) for layer in layers]
    gates: dict[SSMLayer, list[Tensor]] = {layer: [] for layer in layers}

    def open_gate(layer: SSMLayer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        u: Tensor = args[0] if args else kwargs["u"]  # (B, H, L)
        layer.gate = layer.d.new_ones(len(u), layer.num_channels).requires_grad_()
        gates[layer].append(layer.gate)

    samples = 0
    with (
        undisturbed(model),
        hooked(layer.register_forward_pre_hook(open_gate, with_kwargs=True) for layer in layers),
        torch.enable_grad(),
    ):
        for loss in calibration.losses(model):
            for total, gradient in zip(totals, _per_sample(loss, list(gates.values())), strict=True):
                total += of(gradient.double()).sum(dim=0)
            samples += len(loss)
            for calls in gates.values():
                calls.clear()
    return [total / samples for total in totals]


def _per_sample(loss: Tensor, gates: list[list[Tensor]]) -> list[Tensor]:
    """d loss_b / d g_bh of every layer, (B, H); zero, (1, 1), for a layer that was not called."""
    flat = [gate for calls in gates for gate in calls]
    if not loss.requires_grad or not flat:
        raise UsageError(
            "the calibration loss does not depend on any SSM layer",
            expected="losses computed from the model's output, with their gradients",
            found="no gradient",
            fix="return losses that were not detached, of the model that was given",
        )
    aligned = all(len(gate) == len(loss) for gate in flat)
    gradients = iter(
        torch.autograd.grad(loss.sum(), flat, materialize_grads=True) if aligned else _one_by_one(loss, flat)
    )  # (B, H) each
    return [
        torch.stack([next(gradients) for _ in calls]).sum(dim=0) if calls else loss.new_zeros(1, 1)
        for calls in gates
    ]


def _one_by_one(loss: Tensor, gates: list[Tensor]) -> list[Tensor]:
    """d loss_b / d (a gate's rows, all together): (B, H) per gate, by one backward pass a sample."""
    of_samples = [
        [
            gradient.sum(dim=0)
            for gradient in torch.autograd.grad(own, gates, retain_graph=True, materialize_grads=True)
        ]
        for own in loss.unbind()
    ]
    return [torch.stack(rows) for rows in zip(*of_samples, strict=True)]
