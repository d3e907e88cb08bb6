"""The folder of a search, from which a killed one continues.

    run.json                          what makes this search this search; written first, never changed
    trials.jsonl                      one Trial a line, appended and synced when it is finished
    measurements/KEY.json             one finished measurement each (host.measuring)
    latency/                          what was learned of the devices, one file each (host.latency)
    candidates/rate-0.30-seed-42/     a candidate's weights and its fine-tuning; gone when no longer needed
    models/keep-0.70/                 the models kept: model.safetensors, config.json, model.onnx
    family.json                       the result (host.family): of a search that was interrupted, what there
                                      is so far, marked incomplete

A trial counts as finished once its whole line, ending in a newline, is in trials.jsonl; its weights are on
disk before. Half a line is what a kill left: it is cut off and the trial runs again.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_s4op.errors import CheckpointError, StorageError, UsageError
from edge_s4op.files import write_bytes, write_text
from host.family import FAMILY_NAME, Trial, problem_of
from host.pruning.schedules import decimals
from host.training.identity import check_identity

__all__ = ["RunFolder", "model_name", "open_folder"]


@dataclass(frozen=True)
class RunFolder:
    """Paths of a search, its trial log, and what is removed when."""

    path: Path

    @property
    def measurements(self) -> Path:
        return self.path / "measurements"

    @property
    def family(self) -> Path:
        return self.path / FAMILY_NAME

    @property
    def latency(self) -> Path:
        return self.path / "latency"

    def candidate(self, stage: str, seed: int) -> Path:
        """Where the weights of a stage's candidate lie."""
        return self.path / "candidates" / f"{stage}-seed-{seed}"

    def model(self, name: str) -> Path:
        """Where a kept model lies."""
        return self.path / "models" / name

    def read_trials(self) -> tuple[Trial, ...]:
        """The finished trials, in order; cuts off what a kill left. Raises CheckpointError."""
        if not self._log.exists():
            return ()
        content = self._log.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_bytes(self._log, whole)
        return tuple(self._trial(number, line) for number, line in enumerate(whole.splitlines(), start=1))

    def append_trial(self, trial: Trial) -> None:
        """Add a finished trial, through to the disk. Raises StorageError."""
        try:
            with open(self._log, "ab") as file:
                file.write(trial.model_dump_json().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"cannot write {self._log}: {error.strerror or error}",
                fix="free some space and resume: every earlier trial is kept",
            ) from error

    def remove_candidates(self, stage: str | None = None, *, but: Path | None = None) -> None:
        """Delete candidates' weights: all, or those of `stage`, except `but`."""
        parent = self.path / "candidates"
        pattern = "*" if stage is None else f"{stage}-seed-*"
        for folder in parent.glob(pattern):
            if folder != but:
                shutil.rmtree(folder)
        if stage is None and parent.exists():
            parent.rmdir()

    @property
    def _log(self) -> Path:
        return self.path / "trials.jsonl"

    def _trial(self, number: int, line: bytes) -> Trial:
        try:
            return Trial.model_validate_json(line)
        except (ValidationError, UsageError) as error:
            raise CheckpointError(
                f"{self._log}, line {number}: not a finished trial: {problem_of(error)}",
                fix="it was changed, or written by another version: search again into another folder",
            ) from error


def open_folder(path: Path, identity: dict[str, Any], *, resume: bool) -> RunFolder:
    """Begin a search in `path`, or continue the one there (or begin, if there is none).

    Raises UsageError when it holds a search and `resume` is not set, CheckpointError when it holds another
    search than `identity`, StorageError when it cannot be written.
    """
    description = Path(path) / "run.json"
    if not description.exists():
        write_text(description, json.dumps({"schema_version": 1, **identity}, indent=2) + "\n")
    elif not resume:
        raise UsageError(
            f"{path} already holds a search", fix="continue with --resume, or choose another folder"
        )
    else:
        check_identity(_read_json(description), json.loads(json.dumps(identity)), str(description))
    return RunFolder(Path(path))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return {k: v for k, v in json.loads(path.read_bytes()).items() if k != "schema_version"}
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a search: {error}", fix="search into another folder") from error


def model_name(trial: Trial) -> str:
    """What a kept model is called: by the share of operators it keeps, or by its budget."""
    return trial.stage if trial.budget_ms is not None else f"keep-{decimals(1 - trial.rate)}"
