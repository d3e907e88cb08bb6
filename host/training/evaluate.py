"""Accuracy and loss of a model on a split, in float32 and without touching any random state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from host.data.batches import batches
from host.data.dataset import Split
from host.models.classifier import Classifier
from host.training.checks import check_split
from host.training.config import resolve_device

__all__ = ["Evaluation", "evaluate", "placed"]


@dataclass(frozen=True)
class Evaluation:
    """`accuracy`: fraction of samples whose highest logit is the label; `loss`: mean cross-entropy."""

    accuracy: float
    loss: float


def evaluate(
    model: Classifier, split: Split, *, batch_size: int = 64, device: str | torch.device = "auto"
) -> Evaluation:
    """Evaluate `model` on `split`, one prediction per sample however long (padding never counts).

    The model is back on its own device and in its own mode afterwards. Raises DataError when the split
    does not fit the model, UsageError when the device is not there.
    """
    check_split(model.config, split, "the split to evaluate")
    place = resolve_device(device) if isinstance(device, str) else device
    with placed(model, place), _eval_mode(model), torch.no_grad():
        return _evaluate(model, split, batch_size, place)


def _evaluate(model: Classifier, split: Split, batch_size: int, device: torch.device) -> Evaluation:
    correct, loss = 0, 0.0
    for batch in batches(split, batch_size, generator=None, device=device):
        logits = model(batch.x, batch.lengths).float()  # (B, num_classes)
        correct += int((logits.argmax(-1) == batch.y).sum())
        loss += float(functional.cross_entropy(logits, batch.y, reduction="sum"))
    return Evaluation(correct / len(split), loss / len(split))


@contextlib.contextmanager
def placed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Keep `model` on `device` while inside, then move it back where it was."""
    before = next(model.parameters()).device
    model.to(device)
    try:
        yield
    finally:
        model.to(before)


@contextlib.contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)
