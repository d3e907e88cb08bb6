"""Where a run's figures go: metrics.jsonl always, TensorBoard when it is installed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_s4op.errors import StorageError
from edge_s4op.files import write_text
from host.training.history import EpochRecord

__all__ = ["METRICS_NAME", "MetricsLog", "latest_progress", "open_metrics"]

METRICS_NAME = "metrics.jsonl"


class MetricsLog:
    """Appends one JSON line an epoch (and TensorBoard scalars)."""

    def __init__(self, path: Path, board: Any | None) -> None:
        self._path, self._board = path, board

    def append(self, record: EpochRecord) -> None:
        """Write `record` through to the disk. Raises StorageError."""
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(_line(record))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"cannot write {self._path}: {error.strerror or error}",
                fix="free some space; resuming continues after the last whole epoch",
            ) from error
        if self._board is not None:
            for name, value in record.model_dump(exclude={"epoch", "settled"}).items():
                self._board.add_scalar(name, value, record.epoch)


@contextlib.contextmanager
def open_metrics(run_dir: Path, history: Sequence[EpochRecord]) -> Iterator[MetricsLog]:
    """A log that holds exactly `history` and is ready for the next epoch.

    The file is rewritten from the snapshot's history, so that an epoch logged just before a kill (or half a
    line of it) does not appear twice.
    """
    path = Path(run_dir) / METRICS_NAME
    write_text(path, "".join(map(_line, history)))
    board = _open_board(Path(run_dir) / "tensorboard", first_epoch=len(history) + 1)
    try:
        yield MetricsLog(path, board)
    finally:
        if board is not None:
            board.close()


def latest_progress(run_dir: Path) -> EpochRecord | None:
    """The last whole epoch of a run that another process may be writing; None before the first."""
    try:
        content = (Path(run_dir) / METRICS_NAME).read_text(encoding="utf-8")
    except OSError:
        return None
    whole = content[: content.rfind("\n") + 1].splitlines()  # a line being written has no end yet
    try:
        return EpochRecord.model_validate_json(whole[-1]) if whole else None
    except ValidationError:
        return None


def _line(record: EpochRecord) -> str:
    return record.model_dump_json() + "\n"


def _open_board(folder: Path, first_epoch: int) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # an optional package: the JSON lines hold the same figures
        return None
    # purge_step hides what a killed run had logged beyond its snapshot
    return SummaryWriter(str(folder), purge_step=first_epoch)
