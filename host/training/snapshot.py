"""One file that a killed run continues from.

Specification. `snapshot.safetensors` holds every tensor a run needs, named `model.*` (weights after the
last whole epoch), `best.*` (weights of the best one) and `optimizer.INDEX.*` (AdamW's state of its
INDEX-th parameter). The metadata entry `s4op.training` is a JSON object that validates as `RunState`:
scalars and the states of the random generators. One file, written beside and renamed, so that a kill at
any moment leaves the whole old snapshot or the whole new one, never a mixture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from edge_s4op.errors import CheckpointError
from edge_s4op.files import write_bytes
from host.training.history import EpochRecord

__all__ = [
    "SNAPSHOT_NAME",
    "RunState",
    "Snapshot",
    "load_optimizer",
    "optimizer_tensors",
    "read_snapshot",
    "remove_leftovers",
    "weights_of",
    "write_snapshot",
]

SNAPSHOT_NAME = "snapshot.safetensors"
_STATE_KEY = "s4op.training"

Tensors = dict[str, torch.Tensor]


class RunState(BaseModel):
    """Everything of a snapshot that is not a weight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    identity: dict[str, Any]
    history: tuple[EpochRecord, ...]
    random: dict[str, Any]
    shuffle: str


@dataclass(frozen=True)
class Snapshot:
    """A run after its last whole epoch; all tensors on the CPU."""

    state: RunState
    model: Tensors
    best: Tensors
    optimizer: Tensors


def write_snapshot(run_dir: Path, snapshot: Snapshot) -> None:
    """Replace the run's snapshot, all or nothing. Raises StorageError."""
    parts = {"model": snapshot.model, "best": snapshot.best, "optimizer": snapshot.optimizer}
    tensors = {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    metadata = {_STATE_KEY: snapshot.state.model_dump_json()}
    write_bytes(Path(run_dir) / SNAPSHOT_NAME, safetensors.torch.save(tensors, metadata))


def read_snapshot(run_dir: Path) -> Snapshot | None:
    """The run's snapshot, or None if it has none yet. Raises CheckpointError for a bad file."""
    path = Path(run_dir) / SNAPSHOT_NAME
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            state = RunState.model_validate_json((file.metadata() or {})[_STATE_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, ValidationError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a training snapshot of this version: {str(error).splitlines()[0]}",
            fix="train again into another folder, or restore the file from a copy",
        ) from error
    return Snapshot(state, *(_part(tensors, part) for part in ("model", "best", "optimizer")))


def remove_leftovers(run_dir: Path) -> None:
    """Delete the temporary files of a run that was killed while writing its snapshot."""
    for path in Path(run_dir).glob(f".{SNAPSHOT_NAME}.*"):
        path.unlink(missing_ok=True)


def weights_of(model: torch.nn.Module) -> Tensors:
    """A copy of every parameter and buffer, on the CPU."""
    return {name: _copy(tensor) for name, tensor in model.state_dict().items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """A copy of the optimiser's state as flat names: `INDEX.exp_avg`, ..."""
    state: Mapping[int, Mapping[str, torch.Tensor]] = optimizer.state_dict()["state"]
    return {f"{i}.{key}": _copy(tensor) for i, entry in state.items() for key, tensor in entry.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Put `optimizer_tensors` back; the groups' settings stay those the optimiser was built with."""
    state: dict[int, Tensors] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _part(tensors: Tensors, part: str) -> Tensors:
    prefix = f"{part}."
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    # A fresh contiguous copy even on the CPU: safetensors refuses views and tensors that share memory.
    return tensor.detach().to("cpu", copy=True).contiguous()
