"""A model in fp16, and what that costs: both precisions' accuracy on validation and test data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from edge_s4op.artifact import Artifact, artifact_from_model
from edge_s4op.errors import DataError
from edge_s4op.runtime import Runner, open_runner
from host.data.dataset import Dataset, Split
from host.export import export_model
from host.models import Classifier, load_checkpoint
from host.provenance import DataSource, provenance_of
from host.workflow import export_checkpoint, normalised_for

__all__ = ["Comparison", "HalfExport", "compare", "export_half"]

_BATCH = 32
Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """One split, run in both precisions: accuracies, fractions of one, and answers that fp16 changed."""

    split: str
    samples: int
    fp32: float
    fp16: float
    changed: int

    @property
    def difference(self) -> float:
        """fp16's accuracy less fp32's."""
        return self.fp16 - self.fp32


@dataclass(frozen=True)
class HalfExport:
    """The file in fp16, and how it compares; no comparisons without data."""

    artifact: Artifact
    comparisons: tuple[Comparison, ...]


def export_half(
    folder: Path,
    *,
    dataset: str | None = None,
    on_data: bool = True,
    on_progress: Callable[[float], None] | None = None,
) -> HalfExport:
    """The model in `folder` in fp16, compared with its fp32 file on validation and test data.

    `dataset` is a spec as `load_dataset` takes it, by default what the model was trained on; the manifest
    gets fp16's own accuracies on it, and none without `on_data`. `on_progress` gets the share of the
    sequences done so far.

    Raises as `export_model` and `load_dataset` do, and DataError when the data have other classes.
    """
    single = export_checkpoint(folder, check_on_data=False)
    model, extra = load_checkpoint(folder)
    if not on_data:
        return HalfExport(_half_of(model, single, single.manifest.dataset, None), ())
    source = provenance_of(extra, folder).data
    source = source if dataset is None else source.model_copy(update={"spec": dataset})
    splits = _splits(source, single)
    half = _half_of(model, single, source.spec, next(_batches(splits["validation"])))
    comparisons = compare(single, half, splits, on_progress=on_progress)
    accuracy = {comparison.split: comparison.fp16 for comparison in comparisons}
    manifest = half.manifest.model_copy(update={"accuracy": accuracy})
    proto = onnx.load_model_from_string(half.content)
    return HalfExport(artifact_from_model(proto, manifest), comparisons)


def compare(
    fp32: Artifact,
    fp16: Artifact,
    splits: dict[str, Split],
    *,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[Comparison, ...]:
    """Run both files in ONNX Runtime on this machine over every split."""
    total, done = 2 * sum(map(len, splits.values())), 0

    def note(sequences: int) -> None:
        nonlocal done
        done += sequences
        if on_progress is not None:
            on_progress(done / total)

    one, two = (_answers(artifact, splits, note) for artifact in (fp32, fp16))
    return tuple(_comparison(name, split, one[name], two[name]) for name, split in splits.items())


def _answers(
    artifact: Artifact, splits: dict[str, Split], note: Callable[[int], None]
) -> dict[str, np.ndarray]:
    with closing(open_runner(artifact, threads=torch.get_num_threads())) as runner:
        return {name: _classes(runner, split, note) for name, split in splits.items()}


def _classes(runner: Runner, split: Split, note: Callable[[int], None]) -> np.ndarray:
    classes = []
    for feeds in _batches(split):
        classes.append(runner.run(feeds)["logits"].argmax(-1))
        note(len(feeds["input"]))
    return np.concatenate(classes)


def _comparison(name: str, split: Split, fp32: np.ndarray, fp16: np.ndarray) -> Comparison:
    right = {"fp32": float((fp32 == split.y).mean()), "fp16": float((fp16 == split.y).mean())}
    return Comparison(name, len(split), **right, changed=int((fp32 != fp16).sum()))


def _half_of(model: Classifier, single: Artifact, dataset: str | None, example: Feeds | None) -> Artifact:
    same = single.manifest
    return export_model(
        model,
        precision="fp16",
        dataset_name=dataset,
        preprocessing=same.preprocessing,
        class_labels=same.class_labels,
        parent=same.parent,
        example=example,
    )


def _splits(source: DataSource, artifact: Artifact) -> dict[str, Split]:
    data: Dataset = source.load()
    if data.class_labels != artifact.manifest.class_labels:
        raise DataError(
            f"{source.spec}: not the classes the model was trained on",
            expected=", ".join(artifact.manifest.class_labels),
            found=", ".join(data.class_labels),
            fix="use the dataset the model was trained on, or data of the same classes",
        )
    splits = {"validation": data.validation, "test": data.test}
    return {k: normalised_for(artifact.manifest, v, data.preprocessing) for k, v in splits.items()}


def _batches(split: Split) -> Iterator[Feeds]:
    for start in range(0, len(split), _BATCH):
        rows = slice(start, start + _BATCH)
        lengths = {} if split.lengths is None else {"lengths": split.lengths[rows]}
        yield {"input": split.x[rows], **lengths}
