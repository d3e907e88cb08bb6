"""What a search is asked."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edge_s4op.messages import MeasurementSettings
from host.training.config import TrainConfig

__all__ = ["PUBLISHED_RATES", "PUBLISHED_SEEDS", "PruneOptions"]

PUBLISHED_RATES = (0.1, 0.3, 0.5, 0.7, 0.9)
PUBLISHED_SEEDS = (7, 42, 123, 2024, 31650)


class PruneOptions(BaseModel):
    """Settings of one search; the defaults are the published method's (S4oP, arXiv 2606.18096).

    `training` is how the unpruned model was trained: candidates are fine-tuned the same way, for an eighth
    of its epochs (at least one) and with the candidate's seed, unless `fine_tune_*` says otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rates: tuple[float, ...] = PUBLISHED_RATES
    candidates: int = Field(default=5, ge=1, description="per rate")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=PUBLISHED_SEEDS, min_length=1)
    criterion: str = "random"
    allocator: str = "depth-exponential"
    schedule: str = "incremental"
    training: TrainConfig = TrainConfig()
    fine_tune_epochs: int | None = Field(default=None, ge=1)
    fine_tune_lr: float | None = Field(default=None, gt=0, description="also the most an SSM parameter gets")
    measurement: MeasurementSettings = MeasurementSettings()

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must differ from each other, found {list(seeds)}")
        return seeds

    def candidate_seeds(self) -> tuple[int, ...]:
        """The first `candidates` seeds; where there are fewer, it goes on from the largest."""
        more = range(max(self.seeds) + 1, max(self.seeds) + 1 + self.candidates)
        return (*self.seeds, *more)[: self.candidates]

    def fine_tuning(self, seed: int) -> TrainConfig:
        """How the candidate of this seed is trained."""
        lr = self.fine_tune_lr or self.training.lr
        ssm_lr = self.training.ssm_lr if self.fine_tune_lr is None else min(self.training.ssm_lr, lr)
        epochs = self.fine_tune_epochs or max(1, self.training.epochs // 8)
        return self.training.model_copy(update={"epochs": epochs, "lr": lr, "ssm_lr": ssm_lr, "seed": seed})
