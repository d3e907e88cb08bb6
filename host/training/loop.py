"""Train a classifier; a killed run continues as if it had not been killed.

An epoch is the unit: after each the run's whole state is one snapshot file (see `snapshot`), and the state
is all there is: the schedule follows from the step number, early stopping from the history.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from edge_s4op.errors import S4opError, UsageError
from host.data.batches import Batch, batches
from host.data.dataset import Dataset
from host.models.classifier import Classifier
from host.training.checks import check_dataset, steps_per_epoch
from host.training.config import TrainConfig, resolve_device
from host.training.evaluate import evaluate, placed
from host.training.history import EpochRecord, Progress, TrainResult, best_epoch, should_stop
from host.training.identity import run_identity
from host.training.objective import Objective, StepHook, checked_loss, cross_entropy
from host.training.optimizer import build_optimizer, set_learning_rate
from host.training.random_state import seeded
from host.training.run import Standing, open_run
from host.training.schedule import learning_rate_factor, warmup_steps
from host.training.snapshot import weights_of

__all__ = ["train"]

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class _Job:
    """What the steps of one run share."""

    model: Classifier
    dataset: Dataset
    config: TrainConfig
    device: torch.device
    optimizer: torch.optim.AdamW
    generator: torch.Generator
    steps: int
    on_progress: OnProgress
    objective: Objective | None
    on_step: StepHook | None

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.steps


@dataclass(frozen=True)
class _Step:
    loss: float
    gradient_norm: float
    samples: int


def train(
    model: Classifier,
    dataset: Dataset,
    config: TrainConfig,
    *,
    run_dir: Path | None = None,
    resume: bool = False,
    on_progress: OnProgress | None = None,
    objective: Objective | None = None,
    on_step: StepHook | None = None,
) -> TrainResult:
    """Train `model` in place; on return it holds the weights of the best epoch and is in eval mode.

    With `run_dir`, every epoch is saved there, and `resume=True` continues from the last one (or starts,
    if there is none), on the CPU bit for bit as if never interrupted. The test split is not looked at, and
    the caller's random numbers and threads stay as they were.

    `objective` is the loss that is trained (None: cross-entropy; validation is always that and accuracy), and
    `on_step` is called before every step. Where it changes the model's structure, the best epoch is one that
    was evaluated with the final one. Both are part of the run: it resumes with the same only.

    Raises DataError when the dataset does not fit the model, UsageError for settings that cannot work here,
    CheckpointError when `run_dir` holds another run, StorageError when it cannot be written, and S4opError
    when loss or gradients stop being finite.
    """
    check_dataset(model.config, dataset)
    device = resolve_device(config.device, amp=config.amp)
    steps = steps_per_epoch(model.config, len(dataset.train), config.batch_size)
    with placed(model, device), seeded(config.seed, device):
        generator = torch.Generator().manual_seed(config.seed)
        report = on_progress or _ignore
        optimizer = build_optimizer(model, config)
        job = _Job(model, dataset, config, device, optimizer, generator, steps, report, objective, on_step)
        _settle(job)
        standing = _train(job, run_dir, resume)
    model.eval()
    return _result(standing.history, config)


def _train(job: _Job, run_dir: Path | None, resume: bool) -> Standing:
    identity = _identity(job) if run_dir else {}
    parts = (job.model, job.optimizer, job.generator)
    with open_run(run_dir, identity, parts, job.device, resume=resume) as (standing, save):
        while len(standing.history) < job.config.epochs and not should_stop(
            standing.history, job.config.patience
        ):
            standing = _advanced(job, standing)
            save(standing)
    job.model.load_state_dict(standing.best)
    return standing


def _identity(job: _Job) -> dict[str, Any]:
    return run_identity(job.model, job.dataset, job.config, job.device, job.objective, job.on_step)


def _settle(job: _Job) -> None:
    """Give the model the structure it will end with: that is the run's, whatever masks it was brought with.

    Raises UsageError when no step would have it.
    """
    if job.on_step is None:
        return
    if job.on_step.settled_from(job.total_steps) >= job.total_steps:
        raise UsageError(
            "the model's structure would not be final before the run ends, so no epoch could be the best",
            expected=f"final from step {job.total_steps - 1} of {job.total_steps} at the latest",
            found=job.on_step.settled_from(job.total_steps),
        )
    job.on_step(job.model, job.total_steps - 1, job.total_steps)


def _advanced(job: _Job, standing: Standing) -> Standing:
    record = _epoch(job, len(standing.history) + 1)
    history = (*standing.history, record)
    best = record.settled and best_epoch(history) is record
    return Standing(history, weights_of(job.model) if best else standing.best)


def _epoch(job: _Job, epoch: int) -> EpochRecord:
    start = time.perf_counter()
    steps = list(_steps(job, epoch))
    samples = sum(step.samples for step in steps)
    loss = sum(step.loss * step.samples for step in steps) / samples
    score = evaluate(
        job.model, job.dataset.validation, batch_size=job.config.eval_batch_size, device=job.device
    )
    _check_finite(score.loss, "the validation loss", job, epoch, job.steps)
    job.on_progress(Progress(epoch, job.config.epochs, job.steps, job.steps, loss, score.accuracy))
    factor = _factor(job, epoch, job.steps)
    return EpochRecord(
        epoch=epoch,
        train_loss=loss,
        validation_loss=score.loss,
        validation_accuracy=score.accuracy,
        lr=job.config.lr * factor,
        ssm_lr=job.config.ssm_lr * factor,
        gradient_norm=sum(step.gradient_norm for step in steps) / len(steps),
        seconds=time.perf_counter() - start,
        settled=_settled(job, epoch),
    )


def _settled(job: _Job, epoch: int) -> bool:
    last_step = epoch * job.steps - 1
    return job.on_step is None or last_step >= job.on_step.settled_from(job.total_steps)


def _steps(job: _Job, epoch: int) -> Iterator[_Step]:
    job.model.train()
    for number, batch in enumerate(_usable(job), start=1):
        if job.on_step is not None:
            job.on_step(job.model, _step_number(job, epoch, number), job.total_steps)
        set_learning_rate(job.optimizer, _factor(job, epoch, number))
        step = _step(job, batch, epoch, number)
        job.on_progress(Progress(epoch, job.config.epochs, number, job.steps, step.loss))
        yield step


def _usable(job: _Job) -> Iterator[Batch]:
    """The epoch's batches; with batch norm, a remainder of one sample is left out.

    The statistics of a single sample are no estimate of the population's (and PyTorch refuses them at length
    1). Shuffling leaves out another sample each epoch, so none is lost for good.
    """
    for batch in batches(
        job.dataset.train, job.config.batch_size, generator=job.generator, device=job.device
    ):
        if len(batch.y) > 1 or job.model.config.norm != "batch":
            yield batch


def _step(job: _Job, batch: Batch, epoch: int, number: int) -> _Step:
    with torch.autocast(job.device.type, dtype=torch.bfloat16, enabled=job.config.amp):
        loss = checked_loss((job.objective or cross_entropy)(job.model, batch))
    loss_value = loss.item()
    _check_finite(loss_value, "the loss", job, epoch, number)
    job.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = clip_grad_norm_(job.model.parameters(), job.config.clip_norm or math.inf).item()
    _check_finite(norm, "the norm of the gradients", job, epoch, number)
    job.optimizer.step()
    return _Step(loss_value, norm, len(batch.y))


def _factor(job: _Job, epoch: int, number: int) -> float:
    warmup = warmup_steps(job.total_steps, job.config.warmup_fraction)
    return learning_rate_factor(_step_number(job, epoch, number), job.total_steps, warmup)


def _step_number(job: _Job, epoch: int, number: int) -> int:
    """Steps of the whole run before this one; epochs and their steps count from 1."""
    return (epoch - 1) * job.steps + number - 1


def _check_finite(value: float, what: str, job: _Job, epoch: int, step: int) -> None:
    if not math.isfinite(value):
        raise S4opError(
            f"training stopped: {what} is {value} at epoch {epoch}, step {step} of {job.steps}",
            expected="a finite number",
            fix=f"train again with lower rates (lr was {job.config.lr:g}, ssm_lr {job.config.ssm_lr:g}), "
            "with clip_norm, or without amp, and look for extreme values in the data",
        )


def _result(history: tuple[EpochRecord, ...], config: TrainConfig) -> TrainResult:
    best = best_epoch(history)
    return TrainResult(
        best_validation_accuracy=best.validation_accuracy,
        best_validation_loss=best.validation_loss,
        best_epoch=best.epoch,
        epochs_run=len(history),
        stopped_early=len(history) < config.epochs,
        seconds=sum(record.seconds for record in history),
        history=history,
    )


def _ignore(_: Progress) -> None:
    return None
