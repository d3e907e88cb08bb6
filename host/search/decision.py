"""What was decided for a budget, in the candidate's folder: resuming must not decide otherwise."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge_s4op.errors import CheckpointError, UsageError
from edge_s4op.files import write_text
from host.pruning.plan import PrunePlan
from host.search.context import Search
from host.search.progress import SearchProgress

__all__ = ["Decision", "read_decision", "write_decision"]


class Decision(BaseModel):
    """A plan that measured under its budget; `budget_ms` is None where the budget is of energy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: PrunePlan
    predicted_ms: float
    budget_ms: float | None


def write_decision(search: Search, at: SearchProgress, decision: Decision) -> None:
    """Keep what was decided for the candidate at `at`. Raises StorageError."""
    write_text(_path(search, at), decision.model_dump_json(indent=2) + "\n")


def read_decision(search: Search, at: SearchProgress) -> Decision | None:
    """What was decided before the search was stopped. Raises CheckpointError for a file that is not ours."""
    path = _path(search, at)
    if not path.exists():
        return None
    try:
        return Decision.model_validate_json(path.read_bytes())
    except (ValidationError, UsageError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a plan of this version", fix="delete the candidate's folder: it is planned again"
        ) from error


def _path(search: Search, at: SearchProgress) -> Path:
    assert at.seed is not None
    return search.folder.candidate(at.target, at.seed) / "plan.json"
