"""Fine-tuning on Ray, on this machine or on a cluster's; Ray is imported only when it is asked for."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import Any

import torch

from edge_s4op.errors import S4opError, UsageError
from host.data.dataset import Dataset
from host.search.executor_task import Failure, OnTraining, TunedModel, TuneTask, attempted

__all__ = ["RayExecutor", "check_answers", "open_ray"]

_CONNECT_TIMEOUT_S = 5.0
_HEALTH_TIMEOUT_S = 30.0
_STORE_BYTES = 128 << 20  # of shared memory, beside the dataset: tasks and results


class RayExecutor:
    """Every task is a Ray task that reserves `threads` CPUs (and a GPU where it trains on one)."""

    def __init__(self, ray: Any, dataset: Dataset, threads: int, *, shares_files: bool) -> None:
        self.shares_files = shares_files
        self._ray, self._threads = ray, threads
        self._dataset = ray.put(dataset)  # once per machine: its workers read it from shared memory
        # Not retried: a candidate that does not fit into memory would not fit the second time either.
        self._tune = ray.remote(max_retries=0)(_tune)
        self._running: dict[Future[TunedModel], Any] = {}
        self._closing = contextlib.ExitStack()

    def submit(self, task: TuneTask, on_progress: OnTraining | None = None) -> Future[TunedModel]:
        resources = {"num_cpus": self._threads, "num_gpus": self._gpus(task)}
        self._check_feasible(resources)
        task = task if self.shares_files else replace(task, run_dir=None)
        reference = self._tune.options(**resources).remote(self._dataset, task, self._threads)
        done: Future[TunedModel] = Future()
        done.set_running_or_notify_cancel()
        self._running[done] = reference
        reference.future().add_done_callback(lambda finished: self._finish(done, task, finished))
        return done

    def close(self) -> None:
        for done, reference in list(self._running.items()):
            self._settle(done, error=CancelledError())
            with contextlib.suppress(Exception):  # it may have finished, or its machine may be gone
                self._ray.cancel(reference, force=True)
        self._closing.close()

    def _finish(self, done: Future[TunedModel], task: TuneTask, finished: Future[Any]) -> None:
        """Runs in a thread of Ray's: nothing may be raised here."""
        try:
            outcome = finished.result()
        except Exception as error:
            self._settle(done, error=_lost_error(task, error))
            return
        if isinstance(outcome, Failure):
            self._settle(done, error=outcome.error())
        else:
            self._settle(done, result=outcome)

    def _settle(
        self, done: Future[TunedModel], *, result: TunedModel | None = None, error: Exception | None = None
    ) -> None:
        if self._running.pop(done, None) is None:  # closed, or finished, in the meantime
            return
        if result is not None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def _gpus(self, task: TuneTask) -> int:
        """Ray hides GPUs from tasks that reserve none; "auto" takes one where the cluster has any."""
        device = task.training.device
        return int(device == "cuda" or (device == "auto" and self._ray.cluster_resources().get("GPU", 0) > 0))

    def _check_feasible(self, resources: dict[str, int]) -> None:
        """Ray would wait forever for a machine that is large enough."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cpus, gpus = resources["num_cpus"], resources["num_gpus"]
        if not any(m.get("CPU", 0) >= cpus and m.get("GPU", 0) >= gpus for m in machines):
            raise UsageError(
                "no machine of the Ray cluster is large enough for a task",
                expected=f"{cpus} CPUs" + (f" and {gpus} GPU" if gpus else ""),
                found=", ".join(f"{m.get('CPU', 0):g} CPUs, {m.get('GPU', 0):g} GPUs" for m in machines),
                fix="use fewer threads, or train on another device",
            )

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_ray(
    dataset: Dataset, *, workers: int, threads: int, address: str | None, shared_files: bool
) -> RayExecutor:
    """Ray on this machine for `workers` tasks at once, or the cluster at `address`; ended by `close()`.

    A Ray that this process has started already is used as it is, and left running.
    Raises UsageError where Ray is not installed, or no cluster answers at `address`.
    """
    ray = _ray()
    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            if address is None:
                _start(ray, stack, dataset, workers * threads)
            else:
                _connect(ray, address)
            stack.callback(ray.shutdown)
        executor = RayExecutor(ray, dataset, threads, shares_files=address is None or shared_files)
        executor._closing = stack.pop_all()
    return executor


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UsageError(
            "executor 'ray' needs Ray, which is not installed here",
            fix="python -m pip install 'edge-s4op[ray]', or use executor 'processes'",
        ) from error


def _start(ray: Any, stack: contextlib.ExitStack, dataset: Dataset, cores: int) -> None:
    # A short path: the names of Ray's sockets, below it, may have 107 characters.
    folder = tempfile.mkdtemp(prefix="s4op-ray-", dir="/tmp")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    store = _STORE_BYTES + 2 * _size_bytes(dataset)
    _init(ray, address="local", num_cpus=cores, object_store_memory=store, _temp_dir=folder)


def _connect(ray: Any, address: str) -> None:
    check_answers(address)
    try:
        _init(ray, address=address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, str(error).splitlines()[0]) from error


def _init(ray: Any, **settings: Any) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    local = {"include_dashboard": False} if settings["address"] == "local" else {}
    with _same_signals():
        ray.init(**settings, **local, **quiet)


@contextlib.contextmanager
def _same_signals() -> Iterator[None]:
    """`ray.init` makes SIGTERM end the process at once; what the caller does on it stays."""
    if threading.current_thread() is not threading.main_thread():  # there Ray leaves it alone
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def check_answers(address: str, timeout_s: float = _HEALTH_TIMEOUT_S) -> None:
    """Raise UsageError unless a Ray cluster of this version answers.

    `ray.init` itself does not come back: against a closed port it was still trying after 200 s (Ray 2.60).
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UsageError(
            "not the address of a Ray cluster",
            expected="HOST:PORT, as `ray start --head` prints it",
            found=address,
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        check = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise _no_cluster(address, f"no answer within {timeout_s:g} s") from error
    if check.returncode != 0:
        lines = (check.stderr or check.stdout).strip().splitlines()
        raise _no_cluster(address, lines[-1] if lines else "it is not healthy")


def _no_cluster(address: str, why: str) -> UsageError:
    return UsageError(
        f"no Ray cluster answers at {address}: {why}",
        fix="start one there with `ray start --head`, of the same Ray and Python version, or leave out "
        "the address to run Ray on this machine",
    )


def _lost_error(task: TuneTask, error: Exception) -> S4opError:
    return S4opError(
        f"candidate {task.name}: its Ray task was lost ({type(error).__name__})",
        found=" ".join(str(error).split())[:300],
        fix="if memory ran out, use fewer workers or a smaller batch; every machine of a cluster needs this "
        "version of edge-s4op",
    )


def _tune(dataset: Dataset, task: TuneTask, threads: int) -> TunedModel | Failure:
    """What runs on Ray's machines."""
    # Ray hands out its shared memory read-only; batches copy from it.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
    torch.set_num_threads(threads)
    return attempted(task, dataset)


def _size_bytes(dataset: Dataset) -> int:
    splits = (dataset.train, dataset.validation, dataset.test)
    return sum(split.x.nbytes + split.y.nbytes for split in splits)
