"""Which channels of the residual stream matter.

A score takes a Classifier and calibration data (None where there is none) and returns one float64 number per
channel, (H,), higher = keep. It leaves the model as it was; channels that are removed already score 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edge_s4op.errors import UsageError
from host.models.classifier import Classifier
from host.pruning.calibration import Calibration
from host.pruning.registry import Registry

__all__ = ["FEATURE_SCORES", "FeatureScore", "choose_features", "feature_scores", "fisher", "magnitude"]

FeatureScore = Callable[[Classifier, Calibration | None], npt.NDArray[np.float64]]

FEATURE_SCORES: Registry[FeatureScore] = Registry("feature score")


def feature_scores(
    model: Classifier, calibration: Calibration | None, score: str = "fisher"
) -> npt.NDArray[np.float64]:
    """The score `score` of every channel, (H,). Raises UnknownNameError, and UsageError as the score does."""
    return FEATURE_SCORES.get(score)(model, calibration)


@FEATURE_SCORES.register("fisher")
def fisher(model: Classifier, calibration: Calibration | None) -> npt.NDArray[np.float64]:
    """mean_b (d loss_b / d g_bh)^2 at g = 1, g (B, H) the model's `feature_gate`.

    The gate multiplies channel h wherever the residual stream is written (the encoder's output, what each
    block adds, the norms' output) and weighs it in LayerNorm's statistics: at g_h = 0 the model is the one
    that `set_kept_features` makes without h. Half the score is the second-order estimate of what that adds to
    the loss, with the Fisher information in the Hessian's place (Theis et al. 2018, arXiv 1801.05787).
    Dropout is off and batch norm uses its running statistics. Raises UsageError without data.
    """
    if calibration is None:
        raise UsageError(
            "feature score 'fisher' needs training data", fix="give calibration batches, or use 'magnitude'"
        )
    total, samples = torch.zeros(model.config.d_model, dtype=torch.float64), 0
    with _gated(model):
        for loss in calibration.losses(model):
            assert model.feature_gate is not None
            (gradient,) = torch.autograd.grad(loss.sum(), model.feature_gate)  # (B, H)
            total += gradient.double().square().sum(dim=0).cpu()
            samples += len(loss)
            model.feature_gate = None
    return (total / samples).numpy()


@FEATURE_SCORES.register("magnitude")
@torch.no_grad()
def magnitude(model: Classifier, calibration: Calibration | None) -> npt.NDArray[np.float64]:
    """L2 norm of all weights that write or read channel h; needs no data.

    Those of one channel form a group that goes together (Fang et al. 2023, arXiv 2301.12900): the
    encoder's weights to h, each GLU's rows of value and gate h and its column h, and the head's column h.
    """
    encoder = model.encoder.weight
    squares = encoder.double().square().sum(dim=0 if isinstance(model.encoder, nn.Embedding) else 1)
    squares = squares + model.head.weight.double().square().sum(dim=0)
    for block in model.blocks:
        mix = block.mix.weight[..., 0].double().square()  # (2H, H)
        squares = squares + mix.sum(dim=0) + mix.sum(dim=1).view(2, -1).sum(dim=0)
    return (squares.sqrt() * model.feature_mask).cpu().numpy()


def choose_features(model: Classifier, scores: npt.NDArray[np.float64], count: int) -> tuple[int, ...]:
    """The `count` best of the channels that `model` keeps, ascending; equal scores keep the lower channel.

    A layer none of whose kept operators is among them gets the channel of its best one, in place of the
    worst that no layer depends on. Raises UsageError for a count that cannot be kept, and for scores that do
    not fit.
    """
    kept, shape = model.kept_features(), (model.config.d_model,)
    if np.shape(scores) != shape or not np.isfinite(scores).all():
        raise UsageError(
            "the feature scores do not fit the model",
            expected=f"an array of shape {shape}, all finite",
            found=f"shape {np.shape(scores)}" if np.shape(scores) != shape else "NaN or infinity",
        )
    if not 1 <= count <= len(kept):
        raise UsageError(
            "a model cannot keep so many features", expected=f"1 to {len(kept)}, what it has", found=count
        )
    ranked = sorted(kept, key=lambda channel: (-float(scores[channel]), channel))
    needed = _needed(model, ranked)
    best = [*needed, *(channel for channel in ranked if channel not in needed)]
    if len(needed) > count:
        raise UsageError(
            "every layer keeps at least one operator, and its channel",
            expected=f"at least {len(needed)} features for the operators that are left",
            found=count,
            fix="keep more features, or prune features before operators",
        )
    return tuple(sorted(best[:count]))


def _needed(model: Classifier, ranked: list[int]) -> list[int]:
    """The best channel of each layer's kept operators, unless one needed before is among them."""
    needed: list[int] = []
    for operators in model.kept_operators():
        if not set(operators) & set(needed):
            needed.append(next(channel for channel in ranked if channel in operators))
    return needed


@contextmanager
def _gated(model: Classifier) -> Iterator[None]:
    """In eval mode every call of `model` finds a gate of ones for its batch; afterwards all is as it was."""
    before, training = model.feature_gate, model.training

    def open_gate(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x: Tensor = args[0] if args else kwargs["x"]
        if model.feature_gate is None or len(model.feature_gate) != len(x):
            ones = model.head.weight.new_ones(len(x), model.config.d_model)
            model.feature_gate = ones.requires_grad_()

    model.feature_gate = None
    hook = model.eval().register_forward_pre_hook(open_gate, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
        model.feature_gate = before
        model.train(training)
