from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge_s4op.errors import UsageError
from host.pruning import PrunePlan, nested_plan
from host.pruning.allocators import depth_exponential

PLAN = PrunePlan((4,) * 3, ((0, 1, 2, 3), (1, 3), (2,)))


def scores(layers: int, channels: int, seed: int) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).random((layers, channels)))


def test_a_plan_knows_its_counts_and_ratio() -> None:
    assert PLAN.kept_counts == PLAN.structure() == (4, 2, 1)
    assert PLAN.ratio == pytest.approx(5 / 12)
    assert PrunePlan.full([4] * 3).ratio == 0


def test_a_plan_survives_json() -> None:
    assert PrunePlan.from_json(PLAN.to_json()) == PLAN


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"num_channels": [4]}', '{"num_channels": [4], "kept": 3}']
)
def test_text_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="pruning plan"):
        PrunePlan.from_json(text)


@pytest.mark.parametrize("layer", [(), (1, 0), (1, 1), (-1, 0), (3, 4)])
def test_a_layer_that_is_no_list_of_operators_is_refused(layer: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="layer 1"):
        PrunePlan((4, 4), ((0,), layer))


@pytest.mark.parametrize(
    ("child", "nested"),
    [
        (PLAN, True),
        (PrunePlan((4,) * 3, ((0, 3), (1,), (2,))), True),
        (PrunePlan((4,) * 3, ((0, 3), (2,), (2,))), False),
        (PrunePlan((5,) * 3, ((0, 3), (1,), (2,))), False),
        (PrunePlan((4,) * 2, ((0, 3), (1,))), False),
    ],
)
def test_nesting(child: PrunePlan, nested: bool) -> None:
    assert child.is_nested_in(PLAN) is nested


def test_the_lowest_scores_go_and_equal_scores_keep_the_lower_channel() -> None:
    ranked = [np.array([0.1, 0.9, 0.5, 0.2]), np.zeros(4)]
    assert nested_plan(PrunePlan.full([4] * 2), [2, 1], ranked).kept == ((1, 2), (0, 1, 2))


def test_a_layer_that_already_lost_more_stays_as_it_is() -> None:
    assert nested_plan(PLAN, [0, 1, 3], scores(3, 4, 0)).kept == PLAN.kept


@pytest.mark.parametrize(("layers", "channels"), [(2, 5), (4, 32), (6, 20)])
def test_plans_of_rising_rates_are_nested_and_reach_their_counts(layers: int, channels: int) -> None:
    for seed in range(5):
        plans = [PrunePlan.full([channels] * layers)]
        for step, rate in enumerate((0.1, 0.3, 0.5, 0.7, 0.9, 0.95)):
            pruned = depth_exponential(rate, layers, channels)
            plans.append(nested_plan(plans[-1], pruned, scores(layers, channels, 10 * seed + step)))
            assert all(count <= channels - p for count, p in zip(plans[-1].kept_counts, pruned, strict=True))
        for parent, child in itertools.combinations(plans, 2):
            assert child.is_nested_in(parent)


@pytest.mark.parametrize("pruned", [[1, 1], [1, 1, 4], [-1, 1, 1]])
def test_counts_that_do_not_fit_are_refused(pruned: list[int]) -> None:
    with pytest.raises(UsageError, match="allocator"):
        nested_plan(PLAN, pruned, scores(3, 4, 0))


@pytest.mark.parametrize(
    "bad", [scores(2, 4, 0), scores(3, 5, 0), [np.full(4, np.nan)] * 3, [np.full(4, np.inf)] * 3]
)
def test_scores_that_do_not_fit_are_refused(bad: list[np.ndarray]) -> None:
    with pytest.raises(UsageError, match="criterion"):
        nested_plan(PLAN, [0, 1, 1], bad)
