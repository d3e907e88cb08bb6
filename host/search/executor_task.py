"""One candidate's fine-tuning as a value that can be sent to another process or machine, and its result."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as bytes_from_tensors

from edge_s4op.errors import S4opError
from host.data.dataset import Dataset
from host.models.classifier import Classifier
from host.models.config import ModelConfig
from host.pruning.gradual import GradualMasks
from host.training.config import TrainConfig
from host.training.distill import Distillation
from host.training.history import Progress, TrainResult
from host.training.loop import train
from host.training.snapshot import weights_of

__all__ = ["Failure", "PackedModel", "Teacher", "TuneTask", "TunedModel", "attempted", "packed", "tune"]

OnTraining = Callable[[Progress], None]


@dataclass(frozen=True)
class PackedModel:
    """A Classifier as a value: its config, and weights and masks as a safetensors file's bytes."""

    config: ModelConfig
    weights: bytes = field(repr=False)

    def restore(self) -> Classifier:
        """The model, in eval mode on the CPU; torch's random numbers are not drawn from."""
        with torch.random.fork_rng(devices=[]):
            model = Classifier(self.config)
        model.load_state_dict(tensors_from_bytes(self.weights))
        return model.eval()


def packed(model: Classifier) -> PackedModel:
    """`model` with its masks as a value."""
    return PackedModel(model.config, bytes_from_tensors(weights_of(model)))


@dataclass(frozen=True)
class Teacher:
    """Whom a candidate learns from, and how; see `host.training.distill`."""

    model: PackedModel
    temperature: float = 2.0
    weight: float = 0.5

    def objective(self) -> Distillation:
        return Distillation(self.model.restore(), self.temperature, self.weight)


@dataclass(frozen=True)
class TuneTask:
    """Fine-tune `model` (masked) as `training` says; the dataset is the executor's.

    name      what messages call the candidate, such as "rate 0.5, seed 7"
    run_dir   where its snapshots go, and where an earlier attempt is continued; None: nowhere
    """

    name: str
    model: PackedModel
    training: TrainConfig
    teacher: Teacher | None = None
    gradual: GradualMasks | None = None
    run_dir: Path | None = None


@dataclass(frozen=True)
class TunedModel:
    """A fine-tuned candidate: the weights of its best epoch, and the run's figures."""

    model: PackedModel
    result: TrainResult

    def restore(self) -> Classifier:
        """The fine-tuned model, in eval mode on the CPU."""
        return self.model.restore()


def tune(task: TuneTask, dataset: Dataset, on_progress: OnTraining | None = None) -> TunedModel:
    """Do it, here. Raises what `host.training.train` does, and S4opError when memory does not suffice."""
    model = task.model.restore()
    try:
        result = train(
            model,
            dataset,
            task.training,
            run_dir=task.run_dir,
            resume=task.run_dir is not None,
            on_progress=on_progress,
            objective=task.teacher.objective() if task.teacher else None,
            on_step=task.gradual,
        )
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        raise S4opError(
            f"candidate {task.name}: not enough memory to fine-tune it",
            found=str(error).splitlines()[0] if str(error) else "out of memory",
            fix="use fewer workers or a smaller batch",
        ) from error
    return TunedModel(packed(model), result)


@dataclass(frozen=True)
class Failure:
    """An exception on its way to another process: class and state, since most of ours cannot be pickled."""

    kind: type[Exception]
    args: tuple[Any, ...]
    state: dict[str, Any]
    origin: str

    def error(self) -> Exception:
        """The exception again, caused by one that shows where it came from."""
        error = self.kind.__new__(self.kind, *self.args)
        error.__dict__.update(self.state)
        error.__cause__ = RuntimeError(f"in a worker process:\n{self.origin}")
        return error


def attempted(task: TuneTask, dataset: Dataset) -> TunedModel | Failure:
    """`tune`, with what it raises as a value."""
    try:
        return tune(task, dataset)
    except Exception as error:
        return Failure(type(error), error.args, dict(error.__dict__), traceback.format_exc())
