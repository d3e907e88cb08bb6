"""Fine-tuning of a user's own model with their batches, loss and metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from edge_s4op.errors import S4opError, UsageError
from host.compress.layers import checked_layers, mark_ssm_parameters
from host.compress.planning import Loss, reiterable
from host.training.config import TrainConfig
from host.training.optimizer import build_optimizer, set_learning_rate
from host.training.random_state import seeded
from host.training.schedule import learning_rate_factor, warmup_steps

__all__ = ["Metric", "TunedEpoch", "Tuning", "fine_tune"]

Metric = Callable[[nn.Module, Iterable[Any]], float]
"""`metric(model, batches)` evaluates the model, in eval mode without gradients; higher = better."""


@dataclass(frozen=True)
class TunedEpoch:
    """One epoch: the mean loss of its samples while training, and the metric behind it."""

    epoch: int
    train_loss: float
    metric: float


@dataclass(frozen=True)
class Tuning:
    """What fine-tuning did. `best_epoch` 0 is the model as it was brought, with `metric_before`."""

    metric_before: float
    history: tuple[TunedEpoch, ...]
    best_epoch: int

    @property
    def best_metric(self) -> float:
        """The metric of the weights that were kept."""
        return self.history[self.best_epoch - 1].metric if self.best_epoch else self.metric_before


def fine_tune(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Loss,
    *,
    validation: Iterable[Any],
    epochs: int,
    metric: Metric | None = None,
    lr: float = 1e-3,
    ssm_lr: float | None = None,
    weight_decay: float = 0.01,
    patience: int | None = None,
    seed: int = 0,
    on_epoch: Callable[[TunedEpoch], None] | None = None,
) -> Tuning:
    """Train `model` in place under its masks; it ends in eval mode with the best weights on `validation`.

    AdamW with dt, A, B and P in a group of their own (`ssm_lr`, at most `lr`; no decay), linear warm-up and
    cosine, gradients clipped to norm 1: `host.training`'s recipe. `loss(model, batch)` gives one number per
    sample (B,), of which the mean is trained, or that mean. `metric` is what "best" means, higher = better
    (None: minus the mean loss on `validation`); the model as it was brought takes part, so tuning never
    returns a worse one. `patience` stops after so many epochs without a better one. Batches and model lie on
    the same device, where `loss` sees to it. With the same seed, batches and thread count, the result on a
    CPU is the same to the bit; the caller's random numbers stay as they were.

    Raises UsageError for a model without SSM layers, settings that cannot work, batches that are empty or
    used up after one pass, a loss that cannot be trained and a metric that is not a number; S4opError when
    loss or gradients stop being finite.
    """
    checked_layers(model)
    mark_ssm_parameters(model)  # a model that was copied has lost them
    config = _config(epochs, lr, ssm_lr, weight_decay, patience, seed)
    data = _Data(reiterable(batches), reiterable(validation), loss, metric)
    with seeded(seed, next(model.parameters()).device):
        run = _Run(model, data, config, build_optimizer(model, config), _count(data.batches))
        tuning = _tuned(run, on_epoch or (lambda epoch: None))
    model.eval()
    return tuning


@dataclass(frozen=True)
class _Data:
    batches: Iterable[Any]
    validation: Iterable[Any]
    loss: Loss
    metric: Metric | None


@dataclass(frozen=True)
class _Run:
    model: nn.Module
    data: _Data
    config: TrainConfig
    optimizer: torch.optim.AdamW
    steps: int

    def factor(self, step: int) -> float:
        total = self.steps * self.config.epochs
        return learning_rate_factor(
            min(step, total - 1), total, warmup_steps(total, self.config.warmup_fraction)
        )


def _config(
    epochs: int, lr: float, ssm_lr: float | None, weight_decay: float, patience: int | None, seed: int
) -> TrainConfig:
    try:
        return TrainConfig(
            epochs=epochs,
            lr=lr,
            ssm_lr=min(lr, 1e-3) if ssm_lr is None else ssm_lr,
            weight_decay=weight_decay,
            patience=patience,
            seed=seed,
        )
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        raise UsageError(f"fine-tuning: {name}: {problem['msg']}", found=problem["input"]) from error


def _count(batches: Iterable[Any]) -> int:
    count = len(batches) if isinstance(batches, Sized) else sum(1 for _ in batches)
    if count == 0:
        raise UsageError("there is nothing to fine-tune on: no batch", fix="give at least one batch")
    return count


def _tuned(run: _Run, on_epoch: Callable[[TunedEpoch], None]) -> Tuning:
    before = best = _metric(run)
    kept, best_epoch, history = _weights(run.model), 0, []
    for epoch in range(1, run.config.epochs + 1):
        loss = _epoch(run, epoch)
        history.append(TunedEpoch(epoch, loss, _metric(run)))
        on_epoch(history[-1])
        if history[-1].metric > best:
            best, best_epoch, kept = history[-1].metric, epoch, _weights(run.model)
        elif run.config.patience is not None and epoch - best_epoch >= run.config.patience:
            break
    run.model.load_state_dict(kept)
    return Tuning(before, tuple(history), best_epoch)


@torch.enable_grad()
def _epoch(run: _Run, epoch: int) -> float:
    """Train through all batches once: the mean loss of their samples."""
    run.model.train()
    total, samples = 0.0, 0
    for number, batch in enumerate(run.data.batches):
        step = (epoch - 1) * run.steps + number
        set_learning_rate(run.optimizer, run.factor(step))
        losses = run.data.loss(run.model, batch)  # (B,) or ()
        mean = _trainable(losses).mean()
        _check_finite(mean.item(), "the loss", epoch, number + 1)
        run.optimizer.zero_grad(set_to_none=True)
        mean.backward()
        norm = clip_grad_norm_(run.model.parameters(), run.config.clip_norm or math.inf)
        _check_finite(norm.item(), "the norm of the gradients", epoch, number + 1)
        run.optimizer.step()
        total, samples = total + mean.item() * losses.numel(), samples + losses.numel()
    return total / samples


@torch.no_grad()
def _metric(run: _Run) -> float:
    run.model.eval()
    data = run.data
    if data.metric is None:
        losses = [data.loss(run.model, batch).reshape(-1) for batch in data.validation]
        if not losses:
            raise UsageError(
                "there is nothing to choose the best epoch by: no validation batch",
                fix="hold some training batches back as validation",
            )
        value = -float(torch.cat(losses).double().mean())
    else:
        value = _number(data.metric(run.model, data.validation))
    if math.isnan(value):
        raise UsageError(
            "the metric is not a number, so no epoch can be the best",
            found="NaN",
            fix="look for NaN or an empty set in the validation batches",
        )
    return value


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            "the metric does not return a number",
            expected="a float, higher = better",
            found=type(value).__name__,
        ) from error


def _trainable(losses: Tensor) -> Tensor:
    found = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
    if not isinstance(losses, Tensor) or losses.ndim > 1 or not losses.requires_grad:
        raise UsageError(
            "the loss cannot be trained",
            expected="one number per sample, shape (B,), or their mean, computed from the model",
            found=found,
            fix="compute the loss with reduction='none', and do not detach it",
        )
    return losses


def _check_finite(value: float, what: str, epoch: int, step: int) -> None:
    if not math.isfinite(value):
        raise S4opError(
            f"fine-tuning stopped: {what} is {value} at epoch {epoch}, step {step}",
            expected="a finite number",
            fix="lower lr and ssm_lr, and look for extreme values in the data",
        )


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
