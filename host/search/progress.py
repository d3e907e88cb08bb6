"""What a search tells while it runs, as values a command line can draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from host.family import Latency, Trial
from host.training.history import Progress

__all__ = ["OnProgress", "Phase", "SearchProgress"]

Phase = Literal[
    "learn",
    "plan",
    "export",
    "measure",
    "measured",
    "reused",
    "waiting",
    "fine-tune",
    "finished",
    "skipped",
    "test",
]


@dataclass(frozen=True)
class SearchProgress:
    """Where a search stands: candidate `candidate` (from 1) of `candidates` of the stage `target`.

    `target` is "unpruned", "rate-0.30" or "budget-0.8ms"; `rate` its rate (0 for a budget, whose share of
    pruned operators is found out).

    phase       what else is set
    learn       `stage`: the latency model takes a measurement, and which
    plan        `stage`, what was decided
    export      the structure is about to be exported
    measure     `stage` of the measurement, such as "building engine", and `fraction` of that done, if known
    measured    `latency`, or `error` if the device could not measure it
    reused      the same, from an earlier measurement of the same structure
    waiting     `error`: an agent does not answer and is asked again
    fine-tune   `training`, the epoch's progress
    finished    `trial`, which is on disk now
    skipped     `trial`, which a run before this one had finished
    test        `trial`, whose model is kept and evaluated on the test split
    """

    target: str
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
