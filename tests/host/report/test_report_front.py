from __future__ import annotations

import random

import pytest

from host.family import Trial
from host.report.front import pareto_front
from tests.host.report.report_samples import KEPT_PER_LAYER, latency, trial, unpruned

BASE = trial(0.5, 7, KEPT_PER_LAYER[0.5], 0.9)


def at(p50_ms: float, validation: float | None, seed: int) -> Trial:
    return BASE.model_copy(
        update={"latency": latency(p50_ms), "validation_accuracy": validation, "seed": seed}
    )


def dominates(one: Trial, other: Trial) -> bool:
    mine, theirs = values(one), values(other)
    return mine[0] <= theirs[0] and mine[1] >= theirs[1] and mine != theirs


def values(each: Trial) -> tuple[float, float]:
    assert each.latency is not None
    assert each.validation_accuracy is not None
    return each.latency.p50_ms, each.validation_accuracy


@pytest.mark.parametrize("steps", [3, 6, 1000], ids=["many equal", "some equal", "few equal"])
@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_comparing_every_pair_leaves(steps: int, seed: int) -> None:
    draw = random.Random(seed)
    trials = [
        at((1 + draw.randrange(steps)) / steps, draw.randrange(steps) / steps, number) for number in range(60)
    ]
    left = [each for each in trials if not any(dominates(other, each) for other in trials)]
    front = pareto_front(trials)
    assert sorted(each.seed or 0 for each in front) == [each.seed for each in left]
    assert [values(each) for each in front] == sorted(values(each) for each in front)


def test_what_was_not_measured_takes_no_part() -> None:
    slow = at(3.0, 0.5, 1)
    assert pareto_front([unpruned(latency=None), at(1.0, None, 2), slow]) == (slow,)
    assert pareto_front([]) == ()
