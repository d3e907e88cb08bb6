"""What a search is asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_s4op.messages import MeasurementSettings
from host.remeasuring import REMEASURE
from host.training.config import TrainConfig

__all__ = ["PUBLISHED_RATES", "PUBLISHED_SEEDS", "Budget", "FineTuning", "PruneOptions", "published_options"]

PUBLISHED_RATES = (0.1, 0.3, 0.5, 0.7, 0.9)
PUBLISHED_SEEDS = (7, 42, 123, 2024, 31650)

Quantity = Literal["latency_ms", "latency_ratio", "energy_mj"]
_UNITS = {"latency_ms": "ms", "latency_ratio": "x", "energy_mj": "mJ"}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Budget(_Value):
    """What one inference may cost: `value` ms, a share of the unpruned model's p50, or `value` mJ."""

    quantity: Quantity
    value: float = Field(gt=0)

    @property
    def name(self) -> str:
        """What its stage is called: "budget-0.8ms", "budget-0.5x", "budget-3mJ"."""
        return f"budget-{self.value:.6g}{_UNITS[self.quantity]}"

    def __str__(self) -> str:
        return f"{self.value:.6g} {_UNITS[self.quantity]}"


class FineTuning(_Value):
    """How a candidate is fine-tuned; what is None follows the unpruned model's training.

    `epochs`, or else `share` of the training's (at least one): 5/32 spends on one candidate a quarter of what
    the published search spends on five of an eighth each. `distill` in [0, 1] is the weight of the unpruned
    model's answers in the loss; `gradual` the share of the steps over which operators leave one by one.
    """

    epochs: int | None = Field(default=None, ge=1)
    share: float = Field(default=5 / 32, gt=0, le=1)
    lr: float | None = Field(default=None, gt=0, description="also the most an SSM parameter gets")
    distill: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)
    gradual: float = Field(default=0.0, ge=0, lt=1)


class PruneOptions(_Value):
    """Settings of one search: rates, latency budgets, or both.

    The defaults are this project's: one candidate a stage, the operators ranked by what the loss says of
    them, fine-tuned with the unpruned model as teacher. `published_options` gives the paper's (S4oP, arXiv
    2606.18096). `training` is how the unpruned model was trained: candidates are fine-tuned the same way,
    with the candidate's seed, unless `fine_tuning` says otherwise. `features` and `states` let a budget also
    remove channels of the residual stream, and states of the operators.
    """

    rates: tuple[float, ...] = ()
    budgets: tuple[Budget, ...] = ()
    candidates: int = Field(default=1, ge=1, description="per stage")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=PUBLISHED_SEEDS, min_length=1)
    criterion: str = "fisher"
    allocator: str = "global"
    schedule: str = "incremental"
    features: bool = False
    states: bool = False
    training: TrainConfig = TrainConfig()
    fine_tuning: FineTuning = FineTuning()
    measurement: MeasurementSettings = MeasurementSettings()
    remeasure: int = Field(default=REMEASURE, ge=0, le=20, description="times, while it is disturbed")

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must differ from each other, found {list(seeds)}")
        return seeds

    @model_validator(mode="after")
    def _something_to_do(self) -> PruneOptions:
        if not self.rates and not self.budgets:
            raise ValueError("a search needs at least one rate or one budget")
        if (self.features or self.states) and not self.budgets:
            raise ValueError("features and states are pruned under a budget: give one")
        names = [budget.name for budget in self.budgets]
        if len(set(names)) < len(names):
            raise ValueError(f"budgets must differ from each other, found {names}")
        return self

    def candidate_seeds(self) -> tuple[int, ...]:
        """The first `candidates` seeds; where there are fewer, it goes on from the largest."""
        more = range(max(self.seeds) + 1, max(self.seeds) + 1 + self.candidates)
        return (*self.seeds, *more)[: self.candidates]

    def fine_tuning_of(self, seed: int) -> TrainConfig:
        """How the candidate of this seed is trained."""
        tuning, training = self.fine_tuning, self.training
        lr = tuning.lr or training.lr
        ssm_lr = training.ssm_lr if tuning.lr is None else min(training.ssm_lr, lr)
        epochs = tuning.epochs or max(1, int(training.epochs * tuning.share))
        return training.model_copy(update={"epochs": epochs, "lr": lr, "ssm_lr": ssm_lr, "seed": seed})


def published_options(**changes: object) -> PruneOptions:
    """The published search: five random candidates a rate, depth-exponential shares, an eighth of the epochs.

    `changes` win, those of `fine_tuning` (a mapping) one by one. S4oP, arXiv 2606.18096, whose fine-tuning
    rates are a tenth of the training's and less: give `lr` there to follow it in that too.
    """
    published: dict[str, object] = {
        "rates": PUBLISHED_RATES,
        "candidates": 5,
        "criterion": "random",
        "allocator": "depth-exponential",
    }
    tuning: object = changes.pop("fine_tuning", {})
    given = tuning.model_dump(exclude_unset=True) if isinstance(tuning, FineTuning) else dict(tuning)  # type: ignore[call-overload]
    fine_tuning = {"share": 1 / 8, "distill": 0.0, **given}
    return PruneOptions.model_validate({**published, **changes, "fine_tuning": fine_tuning})
