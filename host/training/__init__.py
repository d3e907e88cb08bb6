"""Training: from a model and a dataset to a trained model, resumable at any epoch."""

from host.training.config import TrainConfig, resolve_device
from host.training.evaluate import Evaluation, evaluate
from host.training.history import EpochRecord, Progress, TrainResult
from host.training.loop import train

__all__ = [
    "EpochRecord",
    "Evaluation",
    "Progress",
    "TrainConfig",
    "TrainResult",
    "evaluate",
    "resolve_device",
    "train",
]
