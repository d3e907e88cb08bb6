"""What a run may be given beyond its settings: another loss, and something to do before every step."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional

from edge_s4op.errors import UsageError
from host.data.batches import Batch

__all__ = ["Objective", "StepHook", "checked_loss", "cross_entropy"]


class Objective(Protocol):
    """How wrong a model is on a batch: `objective(model, batch)` runs it and returns the mean loss, ().

    Called in training mode, under autocast where the run's `amp` is set, with the batch on the run's device.
    It must not draw on anything but the model, the batch and torch's global generators, or resuming is not
    exact.
    """

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor: ...

    def identity(self) -> Any:
        """JSON value that tells this objective from every other: a run is resumed with the same only."""
        ...


class StepHook(Protocol):
    """Something to do to the model before every optimiser step, `step` = 0 ... `total_steps` - 1.

    A pure function of these two, whatever it did before: a resumed run does not repeat the earlier steps.
    """

    def __call__(self, model: nn.Module, step: int, total_steps: int) -> None: ...

    def settled_from(self, total_steps: int) -> int:
        """First step from which the model's structure is final; an epoch that ends before cannot be best."""
        ...

    def identity(self) -> Any:
        """JSON value that tells this hook from every other: a run is resumed with the same only."""
        ...


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy of a Classifier's logits (B, num_classes) against `batch.y`: ()."""
    logits = model(batch.x, batch.lengths)
    return functional.cross_entropy(logits.float(), batch.y)


def checked_loss(loss: Tensor) -> Tensor:
    """`loss` itself. Raises UsageError unless an objective returned one number that depends on the model."""
    if loss.ndim != 0 or not loss.requires_grad:
        raise UsageError(
            "the objective is not a loss that can be trained",
            expected="one number, of shape (), computed from the model",
            found=f"shape {tuple(loss.shape)}" + ("" if loss.requires_grad else " without a gradient"),
            fix="return the mean over the batch, and do not detach it",
        )
    return loss
