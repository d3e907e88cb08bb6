"""The steps of the product as functions: what the commands and the demo call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_s4op.artifact import Artifact, Manifest, Preprocessing
from edge_s4op.client import AgentClient
from edge_s4op.errors import AgentProtocolError, DataError
from edge_s4op.messages import ServeRequest
from host.data.dataset import Dataset, Split
from host.export import export_model
from host.models import Classifier, ModelConfig, load_checkpoint, save_checkpoint
from host.provenance import DataSource, Provenance, provenance_of
from host.training.config import TrainConfig
from host.training.evaluate import evaluate
from host.training.history import Progress, TrainResult
from host.training.loop import train

__all__ = [
    "Answers",
    "TrainedModel",
    "batch_size_for",
    "export_checkpoint",
    "infer_split",
    "normalised_for",
    "shape_of",
    "train_model",
]


@dataclass(frozen=True)
class TrainedModel:
    """A trained model on disk."""

    folder: Path
    provenance: Provenance
    training: TrainResult

    def summary(self) -> dict[str, Any]:
        """Plain figures for scripts."""
        return {
            "accuracy": self.provenance.accuracy,
            "best_epoch": self.training.best_epoch,
            "epochs_run": self.training.epochs_run,
            "stopped_early": self.training.stopped_early,
            "seconds": round(self.training.seconds, 3),
        }


def shape_of(dataset: Dataset) -> dict[str, object]:
    """The part of a ModelConfig that the dataset decides."""
    return {
        "num_classes": dataset.num_classes,
        "seq_len": dataset.seq_len,
        "d_input": dataset.d_input,
        "vocab_size": dataset.vocab_size,
        "padded": dataset.padded,
    }


def train_model(
    source: DataSource,
    dataset: Dataset,
    config: ModelConfig,
    training: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainedModel:
    """Train a new model (snapshots in `out`/training) and save it, with its provenance, to `out`/model.

    The test split is looked at once, when training has ended. Raises as `host.training.loop.train` does.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = Classifier(config)
    result = train(model, dataset, training, run_dir=out / "training", resume=resume, on_progress=on_progress)
    test = evaluate(model, dataset.test, batch_size=training.eval_batch_size, device=training.device)
    provenance = Provenance(
        data=source,
        preprocessing=dataset.preprocessing,
        class_labels=dataset.class_labels,
        training=training,
        accuracy={"validation": result.best_validation_accuracy, "test": test.accuracy},
    )
    save_checkpoint(out / "model", model, provenance.extra())
    return TrainedModel(out / "model", provenance, result)


def export_checkpoint(folder: Path, *, check_on_data: bool = True) -> Artifact:
    """The model in `folder` as a verified artifact; `check_on_data` also compares it on real input."""
    model, extra = load_checkpoint(folder)
    provenance = provenance_of(extra, folder)
    example = _example(provenance.data.load().validation) if check_on_data else None
    return export_model(
        model,
        dataset_name=provenance.data.spec,
        preprocessing=provenance.preprocessing,
        class_labels=provenance.class_labels,
        accuracy=extra.get("pruning", {}).get("accuracy", provenance.accuracy),
        example=example,
    )


def _example(split: Split, count: int = 4) -> dict[str, np.ndarray]:
    return _feeds(split, slice(0, count))


def _feeds(split: Split, rows: slice) -> dict[str, np.ndarray]:
    feeds = {"input": split.x[rows]}
    return feeds if split.lengths is None else {**feeds, "lengths": split.lengths[rows]}


@dataclass(frozen=True)
class Answers:
    """What a served model said: logits (n, num_classes) and, where labels are known, its accuracy."""

    logits: np.ndarray
    accuracy: float | None

    @property
    def classes(self) -> np.ndarray:
        return self.logits.argmax(-1)


def batch_size_for(serving: ServeRequest, wanted: int = 32) -> int:
    """Sequences a request to a model served so: an engine takes no more than it was built for."""
    return wanted if serving.backend == "onnxruntime" else min(wanted, serving.max_batch or 1)


def infer_split(
    agent: AgentClient,
    model: str,
    split: Split,
    *,
    batch_size: int = 32,
    on_progress: Callable[[int], None] | None = None,
) -> Answers:
    """Send a whole split to a served model, batch by batch; `on_progress` gets the rows done so far."""
    logits = []
    for start in range(0, len(split), batch_size):
        outputs = agent.infer(model, _feeds(split, slice(start, start + batch_size)))
        if "logits" not in outputs:
            raise AgentProtocolError(
                f"model {model!r} on {agent.url} returned no logits", found=f"outputs {sorted(outputs)}"
            )
        logits.append(outputs["logits"])
        if on_progress is not None:
            on_progress(min(start + batch_size, len(split)))
    answers = np.concatenate(logits)
    return Answers(answers, float((answers.argmax(-1) == split.y).mean()))


def normalised_for(manifest: Manifest, split: Split, used: Preprocessing) -> Split:
    """`split`, normalised with `used`, as `manifest`'s model wants it; a streaming one takes any length.

    Raises DataError when the data do not fit the model's input.
    """
    wanted, found = manifest.inputs[0].shape[1:], split.x.shape[1:]
    if len(found) != len(wanted) or any(
        want not in (-1, size) for size, want in zip(found, wanted, strict=True)
    ):
        raise DataError(
            "the data do not fit the served model",
            expected=f"sequences of shape {list(wanted)}",
            found=list(found),
            fix="use the dataset the model was trained on, or data of the same shape",
        )
    if used == manifest.preprocessing or not manifest.preprocessing.mean:
        return split
    raw = split.x * np.asarray(used.std, np.float32) + np.asarray(used.mean, np.float32)
    mean = np.asarray(manifest.preprocessing.mean, np.float32)
    x = (raw - mean) / np.asarray(manifest.preprocessing.std, np.float32)
    if split.lengths is not None:
        x[np.arange(x.shape[1]) >= split.lengths[:, None]] = 0
    return Split(x.astype(np.float32), split.y, split.lengths)
