"""Fine-tuning of planned candidates on the search's executor, with progress from wherever they run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from pathlib import Path

from edge_s4op.errors import S4opError
from host.models.checkpoint import load_checkpoint
from host.pruning.gradual import gradual_masks
from host.search.context import Search
from host.search.executor import Executor
from host.search.executor_task import Teacher, TunedModel, TuneTask, packed
from host.search.planning import Planned
from host.training.history import Progress
from host.training.metrics import latest_progress

__all__ = ["tuned"]

_POLL_S = 0.5


def tuned(
    search: Search, executor: Executor, planned: Sequence[Planned]
) -> Iterator[tuple[Planned, TunedModel | S4opError]]:
    """Each candidate with its fine-tuned model, or with what stopped it, in the order they are done."""
    teacher = _teacher(search) if planned else None
    running: dict[Future[TunedModel], Planned] = {}
    for candidate in planned:
        task = _task(search, candidate, teacher)
        future = executor.submit(task, partial(_report, search, candidate))
        if future.done():
            yield candidate, _outcome(future)
        else:
            running[future] = candidate
    while running:
        done, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), _outcome(future)
        if executor.shares_files:
            for candidate in running.values():
                _report_epoch(search, candidate)


def _task(search: Search, candidate: Planned, teacher: Teacher | None) -> TuneTask:
    at, tuning = candidate.at, search.options.fine_tuning
    assert at.seed is not None
    gradual = None
    if tuning.gradual:
        gradual = gradual_masks(candidate.parent, candidate.plan, candidate.scores, tuning.gradual)
    return TuneTask(
        name=f"{at.target}, seed {at.seed}",
        model=packed(candidate.model),
        training=search.options.fine_tuning_of(at.seed),
        teacher=teacher,
        gradual=gradual,
        run_dir=_run_dir(search, candidate),
    )


def _teacher(search: Search) -> Teacher | None:
    """The unpruned model, unless nothing is to be learned from it."""
    tuning = search.options.fine_tuning
    if not tuning.distill:
        return None
    model, _ = load_checkpoint(search.checkpoint_dir)
    return Teacher(packed(model), tuning.temperature, tuning.distill)


def _run_dir(search: Search, candidate: Planned) -> Path:
    assert candidate.at.seed is not None
    return search.folder.candidate(candidate.at.target, candidate.at.seed) / "fine-tuning"


def _outcome(future: Future[TunedModel]) -> TunedModel | S4opError:
    try:
        return future.result()
    except S4opError as error:
        return error


def _report(search: Search, candidate: Planned, progress: Progress) -> None:
    search.report(candidate.at, phase="fine-tune", training=progress)


def _report_epoch(search: Search, candidate: Planned) -> None:
    """How far a candidate in another process has come, from the file that it writes."""
    record = latest_progress(_run_dir(search, candidate))
    if record is not None:
        assert candidate.at.seed is not None
        epochs = search.options.fine_tuning_of(candidate.at.seed).epochs
        progress = Progress(record.epoch, epochs, 1, 1, record.train_loss, record.validation_accuracy)
        _report(search, candidate, progress)
