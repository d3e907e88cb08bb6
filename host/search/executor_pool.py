"""Fine-tuning in processes beside this one.

Not `concurrent.futures.ProcessPoolExecutor`: there, one process that dies (killed for its memory, say) breaks
the whole pool, and nothing says whose task it was. Here every process has a pipe and a thread of its own, so
its death is the failure of one task, and the next task gets a new process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess, parent_process

import torch

from edge_s4op.errors import S4opError
from host.data.dataset import Dataset
from host.search.executor_task import Failure, OnTraining, TunedModel, TuneTask, attempted

__all__ = ["ProcessExecutor"]

_READY = "ready"
_JOIN_TIMEOUT_S = 10.0


class ProcessExecutor:
    """Up to `workers` tasks at once, each in a process with `threads` threads that keeps the dataset.

    Processes are spawned when first needed. A script that opens one must keep its own work under
    `if __name__ == "__main__":`, since a spawned process imports it.
    """

    shares_files = True

    def __init__(self, dataset: Dataset, workers: int, threads: int) -> None:
        resource_tracker.ensure_running()  # see _without_interrupts
        self._workers = tuple(_Worker(dataset, threads) for _ in range(workers))
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()  # the one used last is running already
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="fine-tuning")

    def submit(self, task: TuneTask, on_progress: OnTraining | None = None) -> Future[TunedModel]:
        return self._threads.submit(self._run, task)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.end()
        self._threads.shutdown()

    def _run(self, task: TuneTask) -> TunedModel:
        worker = self._idle.get()
        try:
            outcome = worker.run(task)
        finally:
            self._idle.put(worker)
        if isinstance(outcome, Failure):
            raise outcome.error()
        return outcome

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Worker:
    """One process and the pipe to it: started when a task needs it, and again after it died."""

    def __init__(self, dataset: Dataset, threads: int) -> None:
        self._dataset, self._thread_count = dataset, threads
        self._lock = threading.Lock()
        self._running: tuple[BaseProcess, Connection] | None = None
        self._ready = self._ended = False

    def run(self, task: TuneTask) -> TunedModel | Failure:
        try:
            _, pipe = self._running or self._started()
            if not self._ready:
                self._ready = pipe.recv() == _READY
            pipe.send(task)
            return pipe.recv()
        except (EOFError, OSError) as error:
            raise self._lost(task, error) from error

    def end(self) -> None:
        """Stop for good, in the middle of whatever it does: snapshots are whole at any moment."""
        with self._lock:
            self._ended = True
            if self._running is not None:
                self._running[0].kill()

    def _started(self) -> tuple[BaseProcess, Connection]:
        spawn = multiprocessing.get_context("spawn")
        mine, theirs = spawn.Pipe()
        process = spawn.Process(
            target=_serve, args=(theirs, self._dataset, self._thread_count), name="fine-tuning", daemon=True
        )
        with _without_interrupts():
            process.start()
        theirs.close()
        with self._lock:
            self._running = process, mine
            if self._ended:
                process.kill()
        return self._running

    def _lost(self, task: TuneTask, error: Exception) -> Exception:
        """What to raise for a task whose process is gone; the worker is as new afterwards."""
        with self._lock:
            running, ready = self._running, self._ready
            self._running, self._ready = None, False
            if running is not None:
                running[1].close()
                running[0].kill()
        if running is not None:
            running[0].join(_JOIN_TIMEOUT_S)
        if self._ended:
            return CancelledError()
        return _lost_error(task, running[0].exitcode if running else None, ready, error)


def _lost_error(task: TuneTask, exit_code: int | None, ready: bool, error: Exception) -> S4opError:
    how = str(error) or "it is gone"
    if exit_code is not None:
        killed = exit_code < 0
        how = f"killed by {signal.Signals(-exit_code).name}" if killed else f"exit code {exit_code}"
    if not ready:
        return S4opError(
            f"candidate {task.name}: no process could be started to fine-tune it ({how})",
            fix='see its output above; a script must keep its own work under if __name__ == "__main__":',
        )
    return S4opError(
        f"candidate {task.name}: the process that fine-tuned it ended ({how})",
        fix="if memory ran out, use fewer workers or a smaller batch"
        + ("; resuming continues after its last whole epoch" if task.run_dir else ""),
    )


def _serve(pipe: Connection, dataset: Dataset, threads: int) -> None:
    """A worker process: task in, outcome out, until the other end is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    pipe.send(_READY)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(attempted(pipe.recv(), dataset))


def _end_with_parent() -> None:
    """A worker that outlived its parent would go on writing snapshots that a resumed search writes too."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process started inside never gets SIGINT: Ctrl-C reaches all of a terminal's, and the parent ends it.

    A started process inherits the mask. multiprocessing's resource tracker clears it where it is first
    started, so that must have happened before.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
