"""The stages of a search: first the rates, as their schedule says, then the budgets."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from edge_s4op.errors import UsageError
from host.pruning.schedules import SCHEDULES, UNPRUNED, stage_name
from host.search.options import Budget, PruneOptions

__all__ = ["SearchStage", "stages_of"]


@dataclass(frozen=True)
class SearchStage:
    """Prune to `rate` or under `budget`, starting from the winner of the stage `parent`."""

    name: str
    parent: str
    rate: float = 0.0
    budget: Budget | None = None


def stages_of(options: PruneOptions) -> tuple[SearchStage, ...]:
    """All stages in order. Each budget starts from the one before it of the same kind, which was larger.

    Raises UnknownNameError for the schedule, UsageError for bad rates and for budgets that do not fall.
    """
    schedule = SCHEDULES.get(options.schedule)
    rates = schedule(options.rates) if options.rates else []
    stages = [SearchStage(stage_name(s.rate), stage_name(s.parent_rate), s.rate) for s in rates]
    return (*stages, *_budget_stages(options.budgets))


def _budget_stages(budgets: tuple[Budget, ...]) -> list[SearchStage]:
    for first, second in itertools.pairwise(budgets):
        if first.quantity == second.quantity and second.value >= first.value:
            raise UsageError(
                "budgets must fall: each starts from the model that met the one before it",
                expected=f"less than {first}",
                found=str(second),
            )
    stages, parents = [], {}
    for budget in budgets:
        parent = parents.get(budget.quantity, UNPRUNED)
        stages.append(SearchStage(budget.name, parent, budget=budget))
        parents[budget.quantity] = budget.name
    return stages
