"""Counts per layer, worked out by hand from the published rule."""

from __future__ import annotations

import pytest

from edge_s4op.errors import UnknownNameError
from host.pruning import ALLOCATORS
from host.pruning.allocators import depth_exponential

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
