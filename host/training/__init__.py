"""Training: from a model and a dataset to a trained model, resumable at any epoch."""

from host.training.config import TrainConfig, resolve_device
from host.training.distill import Distillation, distillation_loss
from host.training.evaluate import Evaluation, evaluate
from host.training.history import EpochRecord, Progress, TrainResult
from host.training.loop import train
from host.training.metrics import latest_progress
from host.training.objective import Objective, StepHook

__all__ = [
    "Distillation",
    "EpochRecord",
    "Evaluation",
    "Objective",
    "Progress",
    "StepHook",
    "TrainConfig",
    "TrainResult",
    "distillation_loss",
    "evaluate",
    "latest_progress",
    "resolve_device",
    "train",
]
