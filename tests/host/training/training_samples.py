"""Small real datasets and models for the tests of training, also used by their child processes."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from edge_s4op.artifact import Preprocessing
from host.data.dataset import Dataset, Split
from host.models.classifier import Classifier
from host.models.config import ModelConfig
from host.pruning.gradual import GradualMasks
from host.training import Distillation, TrainConfig

SEQ_LEN = 16
SETTINGS = TrainConfig(epochs=4, batch_size=4, lr=1e-2, device="cpu", seed=3)


def sines(samples: int, seed: int) -> Split:
    """Class 0: a slow sine, class 1: a fast one, with noise."""
    generator = np.random.default_rng(seed)
    y = np.arange(samples) % 2
    time = np.arange(SEQ_LEN) / SEQ_LEN
    phase = generator.uniform(0, 6, (samples, 1))
    wave = np.sin(2 * np.pi * (1 + 3 * y[:, None]) * time + phase)
    x = wave + 0.3 * generator.standard_normal(wave.shape)
    return Split(x[..., None].astype(np.float32), y.astype(np.int64), None)


def dataset(train_samples: int = 22, name: str = "sines", seed: int = 0) -> Dataset:
    """A two-class dataset of `sines`."""
    return dataset_of(sines(train_samples, seed), sines(12, seed + 1), name=name)


def misleading_dataset() -> Dataset:
    """`dataset` with the validation labels swapped: what a model learns makes it worse."""
    data = dataset()
    return dataclasses.replace(data, validation=dataclasses.replace(data.validation, y=1 - data.validation.y))


def dataset_of(train: Split, validation: Split, **changes: object) -> Dataset:
    """A Dataset of these splits, of one continuous channel unless `changes` say otherwise."""
    fields: dict[str, object] = {
        "name": "sines",
        "train": train,
        "validation": validation,
        "test": sines(4, 9),
        "num_classes": 2,
        "class_labels": ("slow", "fast"),
        "seq_len": SEQ_LEN,
        "d_input": 1,
        "vocab_size": None,
        "preprocessing": Preprocessing(mean=(0.0,), std=(1.0,)),
        "padded": False,
    }
    return Dataset(**(fields | changes))


def classifier(seed: int = 0, **changes: object) -> Classifier:
    """A small S4D classifier that fits `dataset`."""
    fields: dict[str, object] = {
        "kind": "s4d",
        "d_input": 1,
        "vocab_size": None,
        "num_classes": 2,
        "d_model": 4,
        "d_state": 4,
        "depth": 2,
        "seq_len": SEQ_LEN,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(ModelConfig(**(fields | changes)))


GRADUAL = GradualMasks(kept=((0, 2), (1,)), leaving=((3, 1), (0, 3, 2)), fraction=0.5)


def extras(name: str) -> dict[str, object]:
    """What `train` gets beside SETTINGS: "plain", "distilled", "gradual" or "both"."""
    distilled = {"objective": Distillation(classifier(seed=9), temperature=3.0, weight=0.7)}
    gradual = {"on_step": GRADUAL}
    return {"plain": {}, "distilled": distilled, "gradual": gradual, "both": distilled | gradual}[name]
