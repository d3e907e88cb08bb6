"""Where candidates are fine-tuned: in this process, in processes beside it, or on Ray."""

from __future__ import annotations

import os
from concurrent.futures import Future
from types import TracebackType
from typing import Protocol

from edge_s4op.errors import UnknownNameError, UsageError
from host.data.dataset import Dataset
from host.search.executor_pool import ProcessExecutor
from host.search.executor_ray import open_ray
from host.search.executor_task import OnTraining, TunedModel, TuneTask, tune

__all__ = ["EXECUTORS", "Executor", "InlineExecutor", "open_executor", "usable_cores"]

EXECUTORS = ("inline", "processes", "ray")


class Executor(Protocol):
    """Fine-tunes candidates on one dataset; the same task gives the same result in each, bit for bit on the
    CPU with as many threads.

    `shares_files`: whether tasks write their `run_dir` where this process can read it
    (`host.training.latest_progress` then tells how far a task has come); where not, it is ignored.
    """

    shares_files: bool

    def submit(self, task: TuneTask, on_progress: OnTraining | None = None) -> Future[TunedModel]:
        """A future of the task; `concurrent.futures.as_completed` yields several in order of completion.

        Its `result()` raises what `tune` raises, and S4opError when the task's process ended before the
        task did. `on_progress` is called where the task runs in this process, and only there.
        """
        ...

    def close(self) -> None:
        """End everything now: tasks not begun are cancelled, running ones stop and keep their snapshots."""
        ...

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class InlineExecutor:
    """Tasks run within `submit`, one after another, with this process's threads."""

    shares_files = True

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def submit(self, task: TuneTask, on_progress: OnTraining | None = None) -> Future[TunedModel]:
        done: Future[TunedModel] = Future()
        try:
            done.set_result(tune(task, self._dataset, on_progress))
        except Exception as error:  # not Ctrl-C: that ends the caller too
            done.set_exception(error)
        return done

    def close(self) -> None:
        return None

    def __enter__(self) -> InlineExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_executor(
    name: str,
    dataset: Dataset,
    *,
    workers: int | None = None,
    threads: int | None = None,
    address: str | None = None,
    shared_files: bool = False,
) -> Executor:
    """The executor `name` (one of EXECUTORS), which gets `dataset` once per worker.

    workers        tasks at once; None: one a core of this machine. With one, "processes" is "inline"
    threads        threads of each; None: the cores shared by the workers (on a Ray cluster: one)
    address        of a Ray cluster, "HOST:PORT"; None: Ray on this machine, for as long as it is open
    shared_files   whether the cluster's machines and this one see the same files, so that tasks can save
                   and resume; a cluster runs as many tasks at once as it has cores for

    Raises UnknownNameError, and UsageError for numbers below one, an address that does not answer, or Ray
    where it is not installed.
    """
    if name not in EXECUTORS:
        raise UnknownNameError("executor", name, EXECUTORS)
    for what, count in (("workers", workers), ("threads", threads)):
        if count is not None and count < 1:
            raise UsageError(f"executor {name!r}: too few {what}", expected="at least 1", found=count)
    if address is not None and name != "ray":
        raise UsageError(
            f"executor {name!r} has no address", found=address, fix="use executor 'ray', or no address"
        )
    cores = usable_cores()
    workers = cores if workers is None else workers
    if name == "inline" or (name == "processes" and workers == 1):
        return InlineExecutor(dataset)
    if name == "processes":
        return ProcessExecutor(dataset, workers, threads or max(1, cores // workers))
    threads = threads or (max(1, cores // workers) if address is None else 1)
    return open_ray(dataset, workers=workers, threads=threads, address=address, shared_files=shared_files)


def usable_cores() -> int:
    """Cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
