"""Files that `s4op measure` writes: whether it can, asked before the device is kept busy; then writing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_s4op.errors import StorageError, UsageError
from edge_s4op.files import write_text

__all__ = ["baseline_file", "check_outputs", "write_samples"]


def check_outputs(outputs: dict[str, Path | None], inputs: Iterable[Path | None] = ()) -> None:
    """Raise where a file could not be written; `outputs` by the options that name them.

    Raises UsageError when two are one file or one is among `inputs`, StorageError for a folder in place of
    a file or one that cannot be written to.
    """
    taken = {path.resolve(): "is read" for path in inputs if path is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        if (other := taken.get(path.resolve())) is not None:
            raise UsageError(f"{option}: {path} {other}, too", fix="name another file")
        taken[path.resolve()] = f"is {option}"
        _check(option, path)


def _check(option: str, path: Path) -> None:
    fix = "nothing was measured: choose another file"
    if path.is_dir():
        raise StorageError(f"{option}: {path} is a folder", expected="a file", fix=fix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{option}: cannot write {path}: {reason}", fix=fix) from error


def baseline_file(path: Path) -> Path:
    """Where a baseline's samples lie that were taken with those in `path`: samples.baseline.txt."""
    return path.with_name(f"{path.stem}.baseline{path.suffix}")


def write_samples(path: Path, samples_ms: npt.NDArray[np.float64]) -> None:
    """One latency a line, ms, so that reading gives back the same float64. Raises StorageError."""
    write_text(path, "".join(f"{float(value)!r}\n" for value in samples_ms))
