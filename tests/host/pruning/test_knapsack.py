from __future__ import annotations

import itertools

import numpy as np
import pytest

from host.pruning.knapsack import choose, keep_values


def brute_force(values: list[np.ndarray], costs: list[np.ndarray], budget: float) -> float | None:
    """The best value of all combinations that fit."""
    sums = (
        (sum(v[o] for v, o in zip(values, options, strict=True)),
         sum(c[o] for c, o in zip(costs, options, strict=True)))
        for options in itertools.product(*(range(len(v)) for v in values))
    )  # fmt: skip
    return max((value for value, cost in sums if cost <= budget), default=None)


@pytest.mark.parametrize("seed", range(60))
def test_whole_costs_are_solved_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=rng.integers(1, 6)) for _ in range(rng.integers(1, 5))]
    costs = [rng.integers(0, 9, len(layer)).astype(float) for layer in values]
    budget = float(rng.integers(1, 24))
    room = budget - sum(layer.min() for layer in costs)
    found = choose(values, costs, budget, steps=max(int(room), 1))
    best = brute_force(values, costs, budget)
    if found is None:
        assert best is None
        return
    assert sum(layer[o] for layer, o in zip(costs, found, strict=True)) <= budget
    assert sum(layer[o] for layer, o in zip(values, found, strict=True)) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(20))
def test_any_costs_never_exceed_the_budget_and_come_close_to_the_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, costs = ([np.sort(rng.random(5)) for _ in range(4)] for _ in range(2))
    found = choose(values, costs, 1.6, steps=4096)
    best = brute_force(values, costs, 1.6 * (1 - 4 / 4096))
    if found is None:
        assert best is None
        return
    assert sum(layer[o] for layer, o in zip(costs, found, strict=True)) <= 1.6
    assert sum(layer[o] for layer, o in zip(values, found, strict=True)) >= (best or 0.0)


def test_what_cannot_fit_is_none_and_what_just_fits_is_found() -> None:
    values, costs = [np.array([1.0, 2.0])] * 2, [np.array([0.3, 0.7])] * 2
    assert choose(values, costs, 0.59) is None
    assert choose(values, costs, 0.6) == [0, 0]
    assert choose(values, costs, 1.01) in ([0, 1], [1, 0])
    assert choose(values, costs, 1.41) == [1, 1]
    assert choose(values, costs, -1) is None


@pytest.mark.parametrize("layers", [3, 7, 24])
@pytest.mark.parametrize("cost", [0.1, 0.25, 1.0, 1 / 3])
def test_a_budget_of_exactly_the_cheapest_is_enough(layers: int, cost: float) -> None:
    """No cost here is a whole part of the budget."""
    values, costs = [np.array([2.0, 1.0])] * layers, [np.array([2 * cost, cost])] * layers
    assert choose(values, costs, layers * cost) == [1] * layers
    assert choose(values, costs, layers * cost * 0.999) is None


def test_of_equal_values_the_cheaper_wins() -> None:
    values, costs = [np.array([1.0, 1.0, 3.0])] * 2, [np.array([2.0, 1.0, 5.0])] * 2
    assert choose(values, costs, 4.0) == [1, 1]
    assert choose(values, costs, 6.0) in ([1, 2], [2, 1])
    assert choose(values, costs, np.inf) == [2, 2]


def test_a_layer_without_an_option_has_no_answer() -> None:
    assert choose([np.array([-np.inf]), np.ones(1)], [np.ones(1)] * 2, 9.0) is None


def test_of_a_plateau_the_last_count_is_taken() -> None:
    """Latency is flat to 40 operators and jumps there: a plan keeps all 40 for the price of one."""
    scores = np.ones(64)
    costs = np.where(np.arange(65) <= 40, 1.0, 3.0)
    assert choose([keep_values(scores, range(64))] * 2, [costs] * 2, 2.5) == [40, 40]


def test_keep_values_sum_the_best_scores_of_what_is_left() -> None:
    values = keep_values(np.array([5.0, -1.0, 3.0, 9.0]), [0, 1, 2])
    assert values.tolist() == [-np.inf, 5.0, 8.0, 7.0, -np.inf]


def test_options_without_matching_costs_are_refused() -> None:
    with pytest.raises(ValueError, match="must be a number"):
        choose([np.ones(2)], [np.ones(2)], float("nan"))
    with pytest.raises(ValueError, match="one value and one cost"):
        choose([np.ones(3)], [np.ones(2)], 1.0)
    with pytest.raises(ValueError, match="at least 0"):
        choose([np.ones(2)], [-np.ones(2)], 1.0)
