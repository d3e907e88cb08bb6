"""How fast to prune: the stages a search goes through, and which model each of them starts from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_s4op.errors import UsageError
from host.pruning.registry import Registry

__all__ = [
    "SCHEDULES",
    "UNPRUNED",
    "Schedule",
    "Stage",
    "check_rates",
    "decimals",
    "incremental",
    "one_shot",
    "stage_name",
]

UNPRUNED = "unpruned"


@dataclass(frozen=True)
class Stage:
    """Prune to `rate`, starting from the model kept at `parent_rate` (0: the unpruned model)."""

    rate: float
    parent_rate: float


Schedule = Callable[[Sequence[float]], list[Stage]]

SCHEDULES: Registry[Schedule] = Registry("schedule")


@SCHEDULES.register("incremental")
def incremental(rates: Sequence[float]) -> list[Stage]:
    """Each rate starts from the winner of the rate before it, so what is pruned stays pruned.

    Raises UsageError unless the rates increase strictly within (0, 1). S4oP, arXiv 2606.18096.
    """
    check_rates(rates)
    return [Stage(rate, parent) for rate, parent in zip(rates, [0.0, *rates], strict=False)]


@SCHEDULES.register("one-shot")
def one_shot(rates: Sequence[float]) -> list[Stage]:
    """Each rate starts from the unpruned model. Raises UsageError as `incremental` does."""
    check_rates(rates)
    return [Stage(rate, 0.0) for rate in rates]


def stage_name(rate: float) -> str:
    """What the stage of a rate is called: "rate-0.30", with more decimals where the rate has them."""
    return f"rate-{decimals(rate)}" if rate else UNPRUNED


def decimals(share: float) -> str:
    """At least two decimals, more where the share has them: 0.50, 0.125."""
    text = f"{share:.6f}".rstrip("0")
    return text if len(text) >= 4 else f"{share:.2f}"


def check_rates(rates: Sequence[float]) -> None:
    """Raise UsageError, showing the offending ones, unless the rates increase strictly within (0, 1)."""
    outside = [rate for rate in rates if not 0 < rate < 1]
    if outside or not rates:
        raise UsageError(
            "pruning rates must lie between 0 and 1",
            expected="at least one rate within (0, 1), exclusive",
            found=_listed(outside) if rates else "none",
            fix="give shares, not percentages: 0.3 prunes 30 % of the operators",
        )
    falling = [f"{low:g} then {high:g}" for low, high in itertools.pairwise(rates) if high <= low]
    if falling:
        raise UsageError(
            "pruning rates must increase",
            expected="each rate larger than the one before it",
            found=", ".join(falling),
            fix=f"for example {_listed(sorted(set(rates)))}",
        )


def _listed(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates)
