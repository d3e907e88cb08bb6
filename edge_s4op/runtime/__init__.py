"""Backends that run an artifact, one file each, by name. A new backend is one file and one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from edge_s4op.artifact import Artifact
from edge_s4op.errors import UnknownNameError, UsageError
from edge_s4op.runtime.protocol import Array, Runner

__all__ = ["BACKENDS", "Array", "Backend", "Runner", "available_backends", "open_runner"]


@dataclass(frozen=True)
class Backend:
    """How to open a runner (artifact, threads), and the library's version: None if not installed."""

    open: Callable[[Artifact, int], Runner]
    version: Callable[[], str | None]


def open_runner(artifact: Artifact, backend: str = "onnxruntime", threads: int = 1) -> Runner:
    """Load `artifact` on `backend` with `threads` threads for one inference.

    Raises UnknownNameError for a backend nobody registered, UsageError for one whose library is not
    installed or for `threads` < 1, CorruptArtifactError when the backend refuses the file.
    """
    if backend not in BACKENDS:
        raise UnknownNameError("backend", backend, BACKENDS)
    if threads < 1:
        raise UsageError("cannot open a runner", expected="threads >= 1", found=f"threads = {threads}")
    if BACKENDS[backend].version() is None:
        raise UsageError(
            f"the backend {backend!r} cannot run here: its library cannot be imported",
            expected=f"one of {', '.join(available_backends()) or '(none is installed)'}",
            fix=f"install {backend} on this device",
        )
    return BACKENDS[backend].open(artifact, threads)


def available_backends() -> dict[str, str]:
    """Backends whose library is installed here: name -> version of that library."""
    versions = {name: backend.version() for name, backend in BACKENDS.items()}
    return {name: version for name, version in versions.items() if version is not None}


# Imported on use: a Jetson may have TensorRT alone, and the host need not load what it does not run.
def _open_onnxruntime(artifact: Artifact, threads: int) -> Runner:
    from edge_s4op.runtime.onnxruntime import open_onnxruntime

    return open_onnxruntime(artifact, threads=threads)


def _onnxruntime_version() -> str | None:
    try:
        from edge_s4op.runtime.onnxruntime import VERSION
    except ImportError:
        return None
    return VERSION


BACKENDS = MappingProxyType({"onnxruntime": Backend(_open_onnxruntime, _onnxruntime_version)})
