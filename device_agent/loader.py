"""How this agent loads a model: on which backend, with which limits, one at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from device_agent.device import Device
from device_agent.lease import DeviceLease
from edge_s4op.artifact import Artifact
from edge_s4op.errors import UnknownNameError, UsageError
from edge_s4op.messages import MeasurementRequest, ServeRequest
from edge_s4op.runtime import BACKENDS, Runner, RunnerOptions

__all__ = ["Loader", "OnProgress", "installed_backend"]

_MIB = 1 << 20
_THREADS_PER_CORE = 4  # beyond that a model only gets slower, and every thread takes memory

OnProgress = Callable[[str, float | None], None]
R = TypeVar("R", MeasurementRequest, ServeRequest)


class Loader:
    """Turns artifacts into runners.

    Loading may build an engine: it takes minutes, the device's memory, and timings of its own. So one
    thing at a time loads or measures (`hold`); inference goes on meanwhile.
    """

    def __init__(
        self,
        device: Device,
        *,
        default_backend: str,
        engine_dir: Path,
        build_memory_mb: int | None,
        build_timeout_s: float,
    ) -> None:
        """Raises UsageError when the default backend cannot run here."""
        self.default_backend = installed_backend(default_backend, device.backends())
        self._device, self._engine_dir = device, engine_dir
        self._build_memory_bytes = None if build_memory_mb is None else build_memory_mb * _MIB
        self._build_timeout_s = build_timeout_s
        self._lease = DeviceLease()

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

    def hold(
        self, name: str, *, timeout_s: float | None = None, unwanted: Callable[[], bool] | None = None
    ) -> contextlib.AbstractContextManager[None]:
        """Be the one that loads or measures. Raises RequestError 503 as DeviceLease does."""
        return self._lease.hold(name, timeout_s=timeout_s, unwanted=unwanted)

    def open(
        self,
        artifact: Artifact,
        request: MeasurementRequest | ServeRequest,
        *,
        on_progress: OnProgress,
        should_stop: Callable[[], bool],
    ) -> Runner:
        """Load `artifact` as an accepted `request` says, building its engine if need be; hold first.

        Raises UsageError, CorruptArtifactError, BuildError (also soon after `should_stop()` turns true).
        """
        on_progress("loading", 0.0)
        options = RunnerOptions(
            threads=request.threads,
            batch=request.batch if isinstance(request, MeasurementRequest) else request.max_batch,
            engine_dir=self._engine_dir,
            on_progress=on_progress,
            should_stop=should_stop,
            build_memory_bytes=self._build_memory_bytes,
            build_timeout_s=self._build_timeout_s,
        )
        return self._device.open_runner(artifact, request.backend or self.default_backend, options)


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
