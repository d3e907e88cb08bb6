"""Counts per layer, worked out by hand from the published rule."""

from __future__ import annotations

import numpy as np
import pytest

from edge_s4op.errors import UnknownNameError, UsageError
from edge_s4op.messages import Interval, MeasurementSettings
from host.latency import CurvePoint, LatencyModel, LayerCurve, Observation
from host.pruning import ALLOCATORS, AllocationTask, PrunePlan
from host.pruning.allocators import allocate_budget, depth_exponential, global_shares, uniform

# Four layers share in proportion to 2 : 4 : 8 (layers 1, 2, 3); H = 32, so a layer loses 31 at most.
HAND_EVALUATED = {
    # T = round(12.8) = 13: 1.86, 3.71, 7.43
    (0.1, 4, 32): [0, 2, 4, 7],
    # T = 38: 5.43, 10.86, 21.71
    (0.3, 4, 32): [0, 5, 11, 22],
    # T = 64: 9.14, 18.29, 36.57 -> 31 closes; 6 missing: 2, 4
    (0.5, 4, 32): [0, 11, 22, 31],
    # T = 90: 12.86, 25.71, 31; 20 missing: 6.67, 13.33 -> 26 + 13 closes at 31; 8 missing, all to layer 1
    (0.7, 4, 32): [0, 28, 31, 31],
    # T = 115: 16.43, then 31, 31; 37 missing: layer 1 closes; 22 missing: layer 0 opens
    (0.9, 4, 32): [22, 31, 31, 31],
    # T = 127 is more than 4 * 31: every layer keeps its last operator
    (0.99, 4, 32): [31, 31, 31, 31],
    # T = 307, shares of 254: 2.42 4.83 9.67 19.34 38.68 77.35 154.7 -> 127; 28 missing, shares of 126:
    # 0.44 0.89 1.78 3.56 7.11 14.22
    (0.3, 8, 128): [0, 2, 6, 12, 23, 46, 91, 127],
    # T = round(4.5) = 4, half to even; 1.33, 2.67 -> 2 closes; 1 missing: layer 1 closes; nothing missing
    (0.5, 3, 3): [0, 2, 2],
    # T = 5: layer 1 closes at 4, layer 0 takes the last one
    (0.5, 2, 5): [1, 4],
    # One operator a layer: nothing can go
    (0.9, 4, 1): [0, 0, 0, 0],
    # Nothing asked, nothing done
    (0.0, 4, 32): [0, 0, 0, 0],
}


@pytest.mark.parametrize(("case", "pruned"), HAND_EVALUATED.items(), ids=str)
def test_depth_exponential_counts(case: tuple[float, int, int], pruned: list[int]) -> None:
    assert depth_exponential(*case) == pruned


@pytest.mark.parametrize("layers", [2, 3, 4, 6, 8, 12])
@pytest.mark.parametrize("channels", [2, 32, 100, 256])
def test_the_target_is_met_exactly_and_every_layer_keeps_an_operator(layers: int, channels: int) -> None:
    for percent in range(100):
        pruned = depth_exponential(percent / 100, layers, channels)
        target = round(percent / 100 * channels * layers)
        assert sum(pruned) == min(target, layers * (channels - 1))
        assert max(pruned) < channels
        assert pruned[1:] == sorted(pruned[1:]), "deeper layers lose more"
        assert pruned[0] == 0 or pruned[1:] == [channels - 1] * (layers - 1), "layer 0 goes last"


def test_a_pass_whose_shares_all_round_to_zero_still_ends() -> None:
    """60 layers: 2^59 / (2^60 - 2) is 0.5 in float64, and round(0.5) is 0 for every layer."""
    assert depth_exponential(1 / 480, 60, 8) == [0] * 59 + [1]
    assert sum(depth_exponential(0.5, 60, 8)) == 240


def test_a_model_of_one_layer_prunes_that_layer() -> None:
    assert depth_exponential(0.5, 1, 32) == [16]
    assert depth_exponential(0.99, 1, 32) == [31]


def test_an_unknown_allocator_offers_near_names() -> None:
    with pytest.raises(UnknownNameError, match="did you mean depth-exponential") as caught:
        ALLOCATORS.get("depth_exponental")
    assert caught.value.near == ["depth-exponential"]


def task(ratio: float, channels: tuple[int, ...], seed: int = 0, **changes: object) -> AllocationTask:
    """An unpruned parent with random scores, unless `changes` say otherwise."""
    rng = np.random.default_rng(seed)
    scores = tuple(rng.normal(size=count) for count in channels)
    return AllocationTask(**{"ratio": ratio, "parent": PrunePlan.full(channels), "scores": scores, **changes})


@pytest.mark.parametrize("allocator", ["uniform", "global"])
@pytest.mark.parametrize("channels", [(32,) * 4, (5, 3, 8), (64, 1, 16)])
def test_the_total_is_met_and_every_layer_keeps_an_operator(
    allocator: str, channels: tuple[int, ...]
) -> None:
    for percent in range(0, 100, 7):
        pruned = ALLOCATORS.get(allocator)(task(percent / 100, channels))
        most = [count - 1 for count in channels]
        assert all(0 <= gone <= limit for gone, limit in zip(pruned, most, strict=True))
        assert sum(pruned) == min(round(percent / 100 * sum(channels)), sum(most))


def test_uniform_takes_the_same_share_of_every_layer() -> None:
    assert uniform(task(0.5, (32, 16, 8))) == [16, 8, 4]
    assert uniform(task(0.3, (10, 10, 10))) == [3, 3, 3]


def test_uniform_shares_what_the_parent_leaves_open() -> None:
    """52 in all, 31 of which the parent's first layer has lost: 21 of 72 are 29 % of the other two."""
    parent = PrunePlan((32, 64, 8), ((0,), tuple(range(64)), tuple(range(8))))
    assert uniform(task(0.5, (32, 64, 8), parent=parent)) == [31, 19, 2]
    assert uniform(task(0.1, (32, 64, 8), parent=parent)) == [31, 0, 0], "pruned stays pruned"
    assert uniform(task(0.9, (2, 20))) == [1, 19]


def test_global_removes_the_lowest_scores_wherever_they_are() -> None:
    scores = (np.array([9.0, 8.0, 7.0]), np.array([1.0, 2.0, 3.0]), np.array([-5.0, 10.0, 11.0]))
    assert global_shares(task(3 / 9, (3, 3, 3), scores=scores)) == [0, 2, 1]
    assert global_shares(task(6 / 9, (3, 3, 3), scores=scores)) == [2, 2, 2], "the best of a layer stays"


def test_global_leaves_every_layer_its_floor() -> None:
    scores = (np.arange(8.0), 100 + np.arange(8.0))
    assert global_shares(task(0.5, (8, 8), scores=scores)) == [7, 1]
    assert global_shares(task(0.5, (8, 8), scores=scores, floor_share=0.3)) == [5, 3]
    parent = PrunePlan((8, 8), ((7,), tuple(range(8))))
    assert global_shares(task(0.5, (8, 8), parent=parent, scores=scores, floor_share=0.3)) == [7, 1]


@pytest.mark.parametrize("allocator", ["uniform", "global", "latency-aware"])
def test_what_the_parent_lost_stays_lost(allocator: str) -> None:
    parent = PrunePlan((8, 8, 8), ((0, 3), tuple(range(8)), (7,)))
    asked = task(0.6, (8, 8, 8), parent=parent, latency=latency_model((8, 8, 8)))
    pruned = ALLOCATORS.get(allocator)(asked)
    assert [p >= lost for p, lost in zip(pruned, (6, 0, 7), strict=True)] == [True] * 3


def test_the_exponential_allocator_needs_layers_of_one_width() -> None:
    with pytest.raises(UsageError, match=r"one width.*use allocator 'uniform' or 'global'"):
        ALLOCATORS.get("depth-exponential")(task(0.5, (8, 4)))


def latency_model(channels: tuple[int, ...], slopes: tuple[float, ...] | None = None) -> LatencyModel:
    """Straight curves of these slopes (ms an operator) over a base of 1 ms."""
    curves = {}
    for layer, (count, slope) in enumerate(zip(channels, slopes or (0.1,) * len(channels), strict=True)):
        points = tuple(
            CurvePoint(kept=k, p50_ms=slope * k, p50_interval_ms=Interval(low=0, high=1)) for k in (1, count)
        )
        curves[str(layer)] = LayerCurve(kind="s4d", num_channels=count, d_state=4, seq_len=16, points=points)
    whole = 1.0 + sum(curve.ms()[-1] for curve in curves.values())
    seen = [Observation(kept_counts=channels, p50_ms=float(whole))]
    return LatencyModel.fitted("f" * 64, MeasurementSettings(), list(curves), curves, seen)


def test_latency_aware_is_no_slower_than_uniform_and_keeps_more_score() -> None:
    """Layer 0 costs ten times as much an operator as layer 1: it pays to prune there."""
    model = latency_model((16, 16), slopes=(1.0, 0.1))
    asked = task(0.5, (16, 16), latency=model, scores=(np.ones(16), np.ones(16)))
    kept = [16 - gone for gone in ALLOCATORS.get("latency-aware")(asked)]
    assert model.predict_ms(kept) <= model.predict_ms((8, 8)) + 1e-9
    assert kept[1] == 16
    assert sum(kept) > 16


def test_latency_aware_without_a_latency_model_is_refused() -> None:
    with pytest.raises(UsageError, match=r"needs a latency model.*search with an agent"):
        ALLOCATORS.get("latency-aware")(task(0.5, (8, 8)))


def test_a_budget_is_spent_on_what_is_worth_most() -> None:
    model = latency_model((4, 4))
    scores = [np.array([4.0, 3.0, 0.5, 0.1]), np.array([2.0, 1.5, 1.0, 0.2])]
    parent = PrunePlan.full((4, 4))
    assert allocate_budget(parent, scores, model, 1.0 + 0.1 * 5.1) == [2, 1]
    assert allocate_budget(parent, scores, model, 1.0 + 0.1 * 8.1) == [0, 0]
    assert allocate_budget(parent, scores, model, 1.0 + 0.1 * 1.5) is None, "two layers keep one each"


def test_negative_scores_are_as_good_as_others() -> None:
    """Scores say what to keep first: with time for all, all stay, and shifted scores choose the same."""
    model = latency_model((4, 4))
    scores = [np.array([-1.0, -2.0, -4.0, -5.0]), np.array([-3.0, -3.5, -4.5, -6.0])]
    parent = PrunePlan.full((4, 4))
    assert allocate_budget(parent, scores, model, 1.0 + 0.1 * 8.1) == [0, 0]
    for operators in range(2, 9):
        budget_ms = 1.0 + 0.1 * (operators + 0.1)
        shifted = allocate_budget(parent, [layer + 6.01 for layer in scores], model, budget_ms)
        assert allocate_budget(parent, scores, model, budget_ms) == shifted
    one_layer = PrunePlan.full((4,))
    assert allocate_budget(one_layer, scores[:1], latency_model((4,)), 1.0 + 0.1 * 2.1) == [2]
