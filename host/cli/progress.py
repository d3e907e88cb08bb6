"""Progress bars for long work, on a terminal; a log file gets one line a finished trial, and no bars."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from edge_s4op.client_stream import StreamAnswer
from edge_s4op.messages import Job, ServedFamily, ServedModel
from host.cli.console import log
from host.family import Trial
from host.search import SearchProgress
from host.training.history import Progress as TrainingProgress

__all__ = [
    "counting_bar",
    "deploying_bar",
    "measuring_bar",
    "searching_bar",
    "streaming_bar",
    "training_bar",
]


def _bars() -> Progress:
    what, note = (
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
    )
    columns = (what, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), note)
    return Progress(*columns, console=log, disable=not log.is_terminal)


@contextlib.contextmanager
def counting_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of `total` things; yields a function that takes how many are done."""
    with _bars() as bars:
        task = bars.add_task(description, total=total, note="")
        yield lambda done: bars.update(task, completed=done)


@contextlib.contextmanager
def training_bar(description: str) -> Iterator[Callable[[TrainingProgress], None]]:
    """A bar of epochs; yields what `train` takes as `on_progress`."""
    with _bars() as bars:
        task = bars.add_task(description, total=None, note="")

        def follow(at: TrainingProgress) -> None:
            if at.validation_accuracy is not None:
                note = f"loss {at.loss:.3f}  validation {at.validation_accuracy:.1%}"
                bars.update(task, total=at.epochs, completed=at.epoch, note=note)

        yield follow


@contextlib.contextmanager
def measuring_bar(description: str) -> Iterator[Callable[[Job], None]]:
    """A bar of one measurement; yields what `AgentClient.measure` takes as `on_progress`."""
    with _bars() as bars:
        task = bars.add_task(description, total=100, note="")

        def follow(job: Job) -> None:
            waiting = f", {job.position} before it" if job.position else ""
            bars.update(task, note=(job.stage or job.state) + waiting, **_share(job.progress))

        yield follow


@contextlib.contextmanager
def deploying_bar(description: str) -> Iterator[Callable[[ServedModel | ServedFamily], None]]:
    """A bar of models being loaded; yields what `AgentClient.serve` (or its kin) takes as `on_progress`."""
    with _bars() as bars:
        task = bars.add_task(description, total=100, note="")
        yield lambda served: bars.update(task, note=served.stage or "", **_share(served.progress))


@contextlib.contextmanager
def streaming_bar(model: str, total: int) -> Iterator[Callable[[StreamAnswer], None]]:
    """A bar of `total` samples with what the model says to those so far; yields what takes each answer."""
    with _bars() as bars:
        task = bars.add_task(model, total=total, note="")
        yield lambda answer: bars.update(task, completed=answer.samples, note=str(answer.prediction))


@contextlib.contextmanager
def searching_bar(models: int) -> Iterator[Callable[[SearchProgress], None]]:
    """A bar of `models` trials and one of the trial at work; yields `prune_search`'s `on_progress`."""
    with _bars() as bars:
        whole = bars.add_task("pruning", total=models, note="")
        inner = bars.add_task("", total=100, note="")

        def follow(at: SearchProgress) -> None:
            _draw_step(bars, inner, at)
            if at.phase == "waiting":
                bars.console.print(f"  waiting: {at.error}")
            if at.phase in ("finished", "skipped") and at.trial is not None:
                bars.advance(whole)
                bars.console.print(_sentence(at, at.trial))

        yield follow


def _draw_step(bars: Progress, task: TaskID, at: SearchProgress) -> None:
    several = f" candidate {at.candidate}/{at.candidates}" if at.candidates > 1 else ""
    name = f"{at.target}{several}"
    if at.phase == "fine-tune" and at.training is not None:
        training = at.training
        note = (
            "" if training.validation_accuracy is None else f"validation {training.validation_accuracy:.1%}"
        )
        completed, total = training.epoch, training.epochs
    else:
        completed, total, note = round(100 * (at.fraction or 0)), 100, at.stage or ""
    bars.update(task, description=f"{name}: {at.phase}", completed=completed, total=total, note=note)


def _share(progress: float | None) -> dict[str, float | None]:
    """How a bar shows a share done; one of unknown length pulses."""
    return {"total": None} if progress is None else {"total": 100, "completed": round(100 * progress)}


def _sentence(at: SearchProgress, trial: Trial) -> str:
    name = "unpruned" if trial.seed is None else f"{trial.stage}, {trial.rate:.0%} pruned, seed {trial.seed}"
    accuracy = "not trained" if trial.validation_accuracy is None else f"{trial.validation_accuracy:.1%}"
    latency = "not measured" if trial.latency is None else f"p50 {trial.latency.p50_ms:.3f} ms"
    again = " (from the run before)" if at.phase == "skipped" else ""
    problem = f": {trial.error}" if trial.error else ""
    return f"  {name}: {latency}, validation {accuracy}{again}{problem}"
