"""What a criterion may look at: training batches, and how wrong the model is on each sample of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional

from edge_s4op.errors import UsageError
from host.data.batches import Batch, batches

if TYPE_CHECKING:
    from host.data.values import Split

__all__ = ["Calibration", "classification_loss", "split_calibration"]


@dataclass(frozen=True)
class Calibration:
    """Training data for criteria that need it.

    `batches()` iterates over calibration batches, of whatever type `loss` takes; it is called anew for
    every pass. `loss(model, batch)` runs the model and returns one loss per sample, (B,).
    """

    batches: Callable[[], Iterable[Any]]
    loss: Callable[[nn.Module, Any], Tensor]

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        """The samples' losses (B,), batch by batch. Raises UsageError when there is no batch or no (B,)."""
        empty = True
        for batch in self.batches():
            empty = False
            loss = self.loss(model, batch)
            if loss.ndim != 1:
                raise UsageError(
                    "the calibration loss is not one number per sample",
                    expected="a tensor of shape (B,)",
                    found=f"shape {tuple(loss.shape)}",
                    fix="compute the loss with reduction='none'",
                )
            yield loss
        if empty:
            raise UsageError("there is no calibration data", fix="give at least one batch of training data")


def classification_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy of a Classifier on each sample: (B,)."""
    logits = model(batch.x, batch.lengths)  # (B, num_classes)
    return functional.cross_entropy(logits.float(), batch.y, reduction="none")


def split_calibration(split: Split, batch_size: int, device: str = "cpu") -> Calibration:
    """All samples of a (training) split, in order, with `classification_loss`."""
    return Calibration(
        batches=lambda: batches(split, batch_size, generator=None, device=device), loss=classification_loss
    )
