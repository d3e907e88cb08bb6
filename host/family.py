"""The result of a search: every trial, the models kept, and which of them fits a latency budget.

`family.json` is one JSON object (schema_version 1), UTF-8, for any tool to read:

    schema_version   2
    model_kind       "s4d" or "s4"
    dataset          the dataset's name, "ucr:GunPoint"
    config           sizes of the unpruned model (host.models.config.ModelConfig)
    options          what the search was asked (host.search.PruneOptions)
    device           the device latencies were measured on (edge_s4op.messages.DeviceFacts)
    other_devices    further devices, of other kinds, that every model was measured on
    latency_models   what was learned of the devices (host.latency.LatencyModel), if a budget was searched
    complete         false for what a search left that was interrupted; resuming it finishes the family
    models           {name: folder}, the folders relative to family.json; each holds model.safetensors,
                     config.json and model.onnx
    trials           a list, in the order they ran; the first is the unpruned model:
      stage                what was asked of it: "unpruned", "rate-0.30", "budget-0.8ms"
      rate                 share of pruned operators: the asked one, or what a budget came to; 0: unpruned
      budget_ms            the latency budget it was planned for, else null
      predicted_ms         what the latency model said of the plan before it was measured, else null
      seed                 the candidate's seed, null for the unpruned model
      plan                 {"num_channels": [H per layer], "kept": [[channel, ...] per layer]}
      validation_accuracy  fraction of one; null if fine-tuning failed
      validation_loss      mean cross-entropy of the same epoch; decides between equal accuracies
      test_accuracy        fraction of one, for kept models only; null otherwise
      latency              null if it could not be measured, else
        p50_ms, p95_ms, p50_interval_ms, p95_interval_ms ({"low", "high"}), confidence of the intervals,
        iterations, stopped_by, backend, backend_version, threads, batch, device_fingerprint, measurement_id,
        energy_mj (per inference, null where the board reports no power), disturbed (what changed latencies
        beside the model, "cpu-load: ..."; empty: nothing seen)
      other_latencies      the same on the search's other devices, in the order of `other_devices`
      features             kept channels of the residual stream; null: all
      states               real states per operator of each layer; null: all
      parameters, macs     of the compacted model; macs of one inference
      seconds              spent on this trial: export, measurement, fine-tuning
      kept                 whether this is the model kept at its stage
      model                its key in `models` if kept, else null
      error                why there is no latency or no accuracy, else null
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_s4op.errors import BudgetError, DataError, MeasurementError, UsageError
from edge_s4op.files import write_text
from edge_s4op.messages import DeviceFacts, Interval
from host.latency.model import LatencyModel
from host.models.config import ModelConfig
from host.pruning.plan import PrunePlan

__all__ = [
    "FAMILY_NAME",
    "Family",
    "Latency",
    "Trial",
    "problem_of",
    "read_family",
    "select",
    "write_family",
]

FAMILY_NAME = "family.json"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Latency(_Value):
    """What one structure takes on the device, ms; percentiles and intervals as the profiler gave them."""

    p50_ms: float
    p95_ms: float
    p50_interval_ms: Interval
    p95_interval_ms: Interval
    confidence: float
    iterations: int
    stopped_by: Literal["precision", "time"]
    backend: str
    backend_version: str
    threads: int
    batch: int
    device_fingerprint: str
    measurement_id: str
    energy_mj: float | None = None
    disturbed: tuple[str, ...] = ()


class Trial(_Value):
    """One candidate: what was pruned, what it costs and what it is worth. See the module's schema."""

    stage: str
    rate: float = Field(ge=0, lt=1)
    budget_ms: float | None = None
    predicted_ms: float | None = None
    seed: int | None
    plan: PrunePlan
    validation_accuracy: float | None
    validation_loss: float | None = None
    test_accuracy: float | None = None
    latency: Latency | None
    other_latencies: tuple[Latency | None, ...] = ()
    features: tuple[int, ...] | None = None
    states: tuple[int, ...] | None = None
    parameters: int
    macs: int
    seconds: float
    kept: bool = False
    model: str | None = None
    error: str | None = None


class Family(_Value):
    """Models of one ancestor, from unpruned to most pruned, with every trial on the way."""

    schema_version: Literal[2] = 2
    model_kind: str
    dataset: str
    config: ModelConfig
    options: dict[str, Any]
    device: DeviceFacts
    other_devices: tuple[DeviceFacts, ...] = ()
    latency_models: tuple[LatencyModel, ...] = ()
    complete: bool = True
    models: dict[str, str]
    trials: tuple[Trial, ...]

    def kept(self) -> tuple[Trial, ...]:
        """The trials whose models were kept, one per stage, the unpruned one first."""
        return tuple(trial for trial in self.trials if trial.kept)


def select(family: Family, budget_ms: float) -> Trial:
    """The most accurate kept model (on validation data) whose measured p50 is within `budget_ms`.

    Of equally accurate ones the fastest. Raises BudgetError, which says the smallest reached, when none
    fits, and MeasurementError when no kept model was measured.
    """
    measured = [(trial, trial.latency.p50_ms) for trial in family.kept() if trial.latency is not None]
    if not measured:
        raise MeasurementError(
            "no model of this family has a measured latency",
            found="; ".join(sorted({t.error for t in family.kept() if t.error})) or "none",
            fix="repair the device's measurements and prune again",
        )
    fitting = [(trial, p50_ms) for trial, p50_ms in measured if p50_ms <= budget_ms]
    if not fitting:
        raise BudgetError(budget_ms, min(p50_ms for _, p50_ms in measured))
    return max(fitting, key=lambda pair: (pair[0].validation_accuracy or 0.0, -pair[1]))[0]


def write_family(family: Family, folder: Path) -> Path:
    """Write `folder`/family.json, all or nothing, and return its path. Raises StorageError."""
    path = Path(folder) / FAMILY_NAME
    write_text(path, family.model_dump_json(indent=2) + "\n")
    return path


def problem_of(error: ValidationError | UsageError) -> str:
    """The first thing wrong with a value that was read, and where; a plan says it in its own words."""
    if isinstance(error, UsageError):
        return str(error)
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"


def read_family(path: Path) -> Family:
    """Read a family.json, or the one in a folder. Raises DataError when it is missing or malformed."""
    path = Path(path) / FAMILY_NAME if Path(path).is_dir() else Path(path)
    try:
        return Family.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}", fix="`s4op prune` writes such a file"
        ) from error
    except (ValidationError, UsageError) as error:
        raise DataError(
            f"{path}: not a family: {problem_of(error)}",
            expected="schema version 2",
            fix="prune again with this version, or restore the file",
        ) from error
