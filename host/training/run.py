"""A run and its folder: begin or continue, then save after every epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edge_s4op.errors import CheckpointError, UsageError
from host.models.classifier import Classifier
from host.training.history import EpochRecord
from host.training.identity import check_identity
from host.training.metrics import open_metrics
from host.training.random_state import (
    random_state,
    restore_random_state,
    state_from_text,
    text_from_state,
)
from host.training.snapshot import (
    SNAPSHOT_NAME,
    RunState,
    Snapshot,
    Tensors,
    load_optimizer,
    optimizer_tensors,
    read_snapshot,
    remove_leftovers,
    weights_of,
    write_snapshot,
)

__all__ = ["RunParts", "Standing", "open_run"]

RunParts = tuple[Classifier, torch.optim.Optimizer, torch.Generator]


@dataclass(frozen=True)
class Standing:
    """How far a run has come: the epochs so far and the weights of the best."""

    history: tuple[EpochRecord, ...]
    best: Tensors


@contextlib.contextmanager
def open_run(
    run_dir: Path | None, identity: dict[str, Any], parts: RunParts, device: torch.device, *, resume: bool
) -> Iterator[tuple[Standing, Callable[[Standing], None]]]:
    """Where the run stands, and a function that saves where it has come to; without a folder, none is saved.

    Continuing sets `parts` and the random generators to what they were. Raises UsageError for resuming
    without a folder or beginning in one that holds a run, CheckpointError for the snapshot of another run.
    """
    if run_dir is None:
        if resume:
            raise UsageError("cannot resume: no run folder was given", fix="name the folder of the run")
        yield Standing((), {}), lambda standing: None
        return
    standing = _begin(Path(run_dir), identity, parts, device, resume)
    with open_metrics(Path(run_dir), standing.history) as log:

        def save(reached: Standing) -> None:
            # The log first: if killed between the two, resuming takes the line back.
            log.append(reached.history[-1])
            write_snapshot(Path(run_dir), _snapshot(identity, parts, device, reached))

        yield standing, save


def _begin(
    run_dir: Path, identity: dict[str, Any], parts: RunParts, device: torch.device, resume: bool
) -> Standing:
    path = run_dir / SNAPSHOT_NAME
    if path.exists() and not resume:
        raise UsageError(
            f"{run_dir} already holds a training run", fix="continue with --resume, or choose another folder"
        )
    remove_leftovers(run_dir)
    snapshot = read_snapshot(run_dir)
    if snapshot is None:
        return Standing((), {})
    check_identity(snapshot.state.identity, identity, str(path))
    _restore(snapshot, parts, device, path)
    return Standing(snapshot.state.history, snapshot.best)


def _restore(snapshot: Snapshot, parts: RunParts, device: torch.device, path: Path) -> None:
    model, optimizer, generator = parts
    try:
        model.load_state_dict(snapshot.model)
        load_optimizer(optimizer, snapshot.optimizer)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: the snapshot's tensors do not fit the model: {str(error).splitlines()[0]}",
            fix="it was written by another version: train again into another folder",
        ) from error
    restore_random_state(snapshot.state.random, device)
    generator.set_state(state_from_text(snapshot.state.shuffle))


def _snapshot(
    identity: dict[str, Any], parts: RunParts, device: torch.device, standing: Standing
) -> Snapshot:
    model, optimizer, generator = parts
    state = RunState(
        identity=identity,
        history=standing.history,
        random=random_state(device),
        shuffle=text_from_state(generator.get_state()),
    )
    return Snapshot(state, weights_of(model), standing.best, optimizer_tensors(optimizer))
