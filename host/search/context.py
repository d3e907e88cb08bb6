"""What every step of a search shares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_s4op.artifact import Artifact
from host.data.dataset import Dataset, Split
from host.export import export_model
from host.family import Trial
from host.measuring import MeasurementCache
from host.models.classifier import Classifier
from host.search.fleet import Fleet
from host.search.folder import RunFolder
from host.search.options import PruneOptions
from host.search.progress import OnProgress, SearchProgress
from host.search.stages import SearchStage

__all__ = ["Search"]


@dataclass(frozen=True)
class Search:
    """A running search: what it was given, and where its results go."""

    checkpoint_dir: Path
    dataset: Dataset
    fleet: Fleet
    options: PruneOptions
    stages: tuple[SearchStage, ...]
    folder: RunFolder
    cache: MeasurementCache
    on_progress: OnProgress

    def report(self, at: SearchProgress, **changes: Any) -> None:
        """Tell the caller where the search stands."""
        self.on_progress(replace(at, **changes))

    def weights(self, trial: Trial) -> Path:
        """The checkpoint of a finished trial; without a seed, of the unpruned model."""
        return self.checkpoint_dir if trial.seed is None else self.folder.candidate(trial.stage, trial.seed)

    def export(
        self, model: Classifier, *, accuracy: dict[str, float] | None = None, parent: str | None = None
    ) -> Artifact:
        """`model` without its masked operators as an artifact, checked on real input. Raises ExportError."""
        return export_model(
            model,
            dataset_name=self.dataset.name,
            preprocessing=self.dataset.preprocessing,
            class_labels=self.dataset.class_labels,
            accuracy=accuracy or {},
            parent=parent,
            example=_example(self.dataset.validation),
        )


def _example(split: Split, count: int = 2) -> dict[str, np.ndarray]:
    feeds = {"input": split.x[:count]}
    return feeds if split.lengths is None else {**feeds, "lengths": split.lengths[:count]}
