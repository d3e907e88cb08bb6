"""Backends that run an artifact, one file each, by name. A new backend is one file and one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType

from edge_s4op.artifact import Artifact
from edge_s4op.errors import UnknownNameError, UsageError
from edge_s4op.runtime.options import RunnerOptions
from edge_s4op.runtime.protocol import Array, Runner

__all__ = ["BACKENDS", "Array", "Backend", "Runner", "RunnerOptions", "available_backends", "open_runner"]


@dataclass(frozen=True)
class Backend:
    """How to open a runner (artifact, options), and the library's version: None if not installed."""

    open: Callable[[Artifact, RunnerOptions], Runner]
    version: Callable[[], str | None]


def open_runner(
    artifact: Artifact,
    backend: str = "onnxruntime",
    threads: int | None = None,
    *,
    options: RunnerOptions | None = None,
) -> Runner:
    """Load `artifact` on `backend`; `threads`, where given, stands for `options.threads`.

    Raises UnknownNameError for a backend nobody registered, UsageError for one whose library is not
    installed or for options out of range, CorruptArtifactError when the backend refuses the file,
    BuildError when a backend that builds an engine could not build it, InferenceError when the backend
    needs a device that is not there.
    """
    if backend not in BACKENDS:
        raise UnknownNameError("backend", backend, BACKENDS)
    options = options or RunnerOptions()
    options = options if threads is None else replace(options, threads=threads)
    if BACKENDS[backend].version() is None:
        raise UsageError(
            f"the backend {backend!r} cannot run here: its library cannot be imported",
            expected=f"one of {', '.join(available_backends()) or '(none is installed)'}",
            fix=f"install {backend} on this device",
        )
    return BACKENDS[backend].open(artifact, options)


def available_backends() -> dict[str, str]:
    """Backends whose library is installed here: name -> version of that library."""
    versions = {name: backend.version() for name, backend in BACKENDS.items()}
    return {name: version for name, version in versions.items() if version is not None}


# Imported on use: a Jetson may have TensorRT alone, and the host need not load what it does not run.
def _open_onnxruntime(artifact: Artifact, options: RunnerOptions) -> Runner:
    from edge_s4op.runtime.onnxruntime import open_onnxruntime

    return open_onnxruntime(artifact, options)


def _onnxruntime_version() -> str | None:
    try:
        from edge_s4op.runtime.onnxruntime import VERSION
    except ImportError:
        return None
    return VERSION


def _open_tensorrt(artifact: Artifact, options: RunnerOptions) -> Runner:
    from edge_s4op.runtime.tensorrt.loading import open_tensorrt

    return open_tensorrt(artifact, options)


def _tensorrt_version() -> str | None:
    from edge_s4op.runtime.tensorrt.library import version

    return version()


BACKENDS = MappingProxyType(
    {
        "onnxruntime": Backend(_open_onnxruntime, _onnxruntime_version),
        "tensorrt": Backend(_open_tensorrt, _tensorrt_version),
    }
)
