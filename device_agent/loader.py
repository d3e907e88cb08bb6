"""How this agent loads a model: on which backend, with which limits, one at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from device_agent.device import Device
from device_agent.errors import busy_error
from device_agent.lease import DeviceLease
from edge_s4op.artifact import Artifact
from edge_s4op.errors import MeasurementError, UnknownNameError, UsageError
from edge_s4op.messages import MeasurementRequest, ServeRequest
from edge_s4op.profiler.device_lock import DeviceLock
from edge_s4op.runtime import BACKENDS, Runner, RunnerOptions

__all__ = ["Loader", "OnProgress", "installed_backend"]

_MIB = 1 << 20
_THREADS_PER_CORE = 4  # beyond that a model only gets slower, and every thread takes memory

OnProgress = Callable[[str, float | None], None]
R = TypeVar("R", MeasurementRequest, ServeRequest)


class Loader:
    """Turns artifacts into runners.

    Loading may build an engine: it takes minutes, the device's memory, and timings of its own. So one
    thing at a time loads or measures (`hold`), in this agent and, by the device's lock, in all programs on
    this machine that heed it; inference goes on meanwhile.
    """

    def __init__(
        self,
        device: Device,
        *,
        default_backend: str,
        engine_dir: Path,
        build_memory_mb: int | None,
        build_timeout_s: float,
        device_lock: DeviceLock,
    ) -> None:
        """Raises UsageError: the default backend cannot run here; StorageError: the lock cannot be used."""
        device_lock.check()
        self.default_backend = installed_backend(default_backend, device.backends())
        self._device, self._engine_dir = device, engine_dir
        self._build_memory_bytes = None if build_memory_mb is None else build_memory_mb * _MIB
        self._build_timeout_s = build_timeout_s
        self._lease, self._device_lock = DeviceLease(), device_lock

    @property
    def cores(self) -> int:
        """CPU cores of this device."""
        return self._device.facts().cores

    def accepted(self, request: R) -> R:
        """`request` with its backend named. Raises UsageError: a backend or threads this device lacks."""
        backend = installed_backend(request.backend or self.default_backend, self._device.backends())
        cores = self._device.facts().cores
        if request.threads > _THREADS_PER_CORE * cores:
            raise UsageError(
                "threads: more than this device can use",
                expected=f"at most {_THREADS_PER_CORE * cores}, {_THREADS_PER_CORE} a core",
                found=request.threads,
            )
        return request.model_copy(update={"backend": backend})

    @contextlib.contextmanager
    def hold(
        self, name: str, *, timeout_s: float | None = None, unwanted: Callable[[], bool] | None = None
    ) -> Iterator[None]:
        """Be the one on this machine that loads or measures.

        Raises RequestError 503 as DeviceLease does, StorageError when the device's lock cannot be used.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with contextlib.ExitStack() as held:
            held.enter_context(self._lease.hold(name, timeout_s=timeout_s, unwanted=unwanted))
            left_s = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            try:
                held.enter_context(self._device_lock.hold(timeout_s=left_s, unwanted=unwanted))
            except MeasurementError as error:
                raise busy_error(error.what) from error
            yield

    def open(
        self,
        artifact: Artifact,
        request: MeasurementRequest | ServeRequest,
        *,
        on_progress: OnProgress,
        should_stop: Callable[[], bool],
        rebuild: bool = False,
    ) -> Runner:
        """Load `artifact` as an accepted `request` says, building its engine if need be; hold first.

        With `rebuild` an engine built before is not used.

        Raises UsageError, CorruptArtifactError, BuildError (also soon after `should_stop()` turns true).
        """
        on_progress("loading", 0.0)
        options = RunnerOptions(
            threads=request.threads,
            batch=request.batch if isinstance(request, MeasurementRequest) else request.max_batch or 1,
            engine_dir=self._engine_dir,
            on_progress=on_progress,
            should_stop=should_stop,
            build_memory_bytes=self._build_memory_bytes,
            build_timeout_s=self._build_timeout_s,
        )
        options = replace(options, **_chosen(request, rebuild))
        return self._device.open_runner(artifact, request.backend or self.default_backend, options)


def _chosen(request: MeasurementRequest | ServeRequest, rebuild: bool) -> dict[str, Any]:
    """What a request chooses; the rest is as the backend does it."""
    chosen: dict[str, bool | None] = {"rebuild": rebuild or None}
    if isinstance(request, MeasurementRequest):
        chosen |= {"spin_wait": request.spin_wait, "cuda_graph": request.cuda_graph}
    return {name: choice for name, choice in chosen.items() if choice is not None}


def installed_backend(name: str, installed: Mapping[str, str]) -> str:
    """`name`, if it runs on this device. Raises UsageError (UnknownNameError for one nobody registered)."""
    if name in installed:
        return name
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, {*BACKENDS, *installed})
    raise UsageError(
        f"the backend {name!r} cannot run here: its library cannot be imported",
        expected=f"one of {', '.join(sorted(installed)) or '(none is installed)'}",
        fix=f"install {name} on this device, or choose another backend",
    )
