"""What a search tells while it runs, as values a command line can draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from host.family import Latency, Trial
from host.training.history import Progress

__all__ = ["OnProgress", "Phase", "SearchProgress"]

Phase = Literal["export", "measure", "measured", "reused", "fine-tune", "finished", "skipped", "test"]


@dataclass(frozen=True)
class SearchProgress:
    """Where a search stands: candidate `candidate` (from 1) of `candidates` at `rate` (0: unpruned).

    phase       what else is set
    export      the structure is about to be exported
    measure     `stage` of the measurement, such as "building engine", and `fraction` of that done, if known
    measured    `latency`, or `error` if the device could not measure it
    reused      the same, from an earlier measurement of the same structure
    fine-tune   `training`, the epoch's progress
    finished    `trial`, which is on disk now
    skipped     `trial`, which a run before this one had finished
    test        `trial`, whose model is kept and evaluated on the test split
    """

    rate: float
    seed: int | None
    candidate: int
    candidates: int
    phase: Phase
    stage: str | None = None
    fraction: float | None = None
    latency: Latency | None = None
    error: str | None = None
    training: Progress | None = None
    trial: Trial | None = None


OnProgress = Callable[[SearchProgress], None]
