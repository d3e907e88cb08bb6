"""What every epoch gave; which one is best, and whether to stop, follow from it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

__all__ = ["EpochRecord", "Progress", "TrainResult", "best_epoch", "should_stop"]


class EpochRecord(BaseModel):
    """One epoch's figures: one line of metrics.jsonl. Rates are those of the epoch's last step.

    `settled`: whether the model had its final structure when it was evaluated (see `StepHook`). The figures
    of another structure do not compare, so an epoch that is not settled is never the best.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    lr: float
    ssm_lr: float
    gradient_norm: float
    seconds: float
    settled: bool = True


@dataclass(frozen=True)
class Progress:
    """Where a run stands: after a step (`validation_accuracy` None), or closing an epoch (a number).

    `epoch` and `step` count from 1; `loss` is the step's, or the epoch's mean when it closes.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """A finished run; accuracies are fractions of one. `seconds` counts all epochs, resumed ones too."""

    best_validation_accuracy: float
    best_validation_loss: float
    best_epoch: int
    epochs_run: int
    stopped_early: bool
    seconds: float
    history: tuple[EpochRecord, ...]


def best_epoch(history: Sequence[EpochRecord]) -> EpochRecord:
    """Of the settled epochs: highest validation accuracy, then lowest validation loss, then the earliest.

    Raises ValueError when no epoch is settled.
    """
    settled = (record for record in history if record.settled)
    return max(settled, key=lambda r: (r.validation_accuracy, -r.validation_loss, -r.epoch))


def should_stop(history: Sequence[EpochRecord], patience: int | None) -> bool:
    """Whether the best epoch lies `patience` or more epochs back."""
    if patience is None or not any(record.settled for record in history):
        return False
    return history[-1].epoch - best_epoch(history).epoch >= patience
