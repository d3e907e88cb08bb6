from __future__ import annotations

import numpy as np
import pytest

from edge_s4op.errors import UnknownNameError, UsageError
from host.pruning import CRITERIA, SCHEDULES, Registry, Stage
from host.pruning.criteria import candidate_generator
from host.pruning.schedules import incremental


def test_each_stage_starts_from_the_one_before() -> None:
    assert incremental([0.1, 0.3, 0.9]) == [Stage(0.1, 0.0), Stage(0.3, 0.1), Stage(0.9, 0.3)]


@pytest.mark.parametrize(
    ("rates", "shown"),
    [
        ([0.0, 0.5], "found 0;"),
        ([0.3, 1.0, 50], "found 1, 50;"),
        ([-0.1, 0.5], "found -0.1;"),
        ([float("nan")], "found nan;"),
        ([], "found none;"),
        ([0.5, 0.3], "found 0.5 then 0.3;"),
        ([0.3, 0.3, 0.7, 0.6], "found 0.3 then 0.3, 0.7 then 0.6;"),
    ],
)
def test_bad_rates_are_refused_and_shown(rates: list[float], shown: str) -> None:
    with pytest.raises(UsageError) as caught:
        incremental(rates)
    assert shown in str(caught.value)


def test_unknown_names_offer_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown criterion 'randon'.*did you mean random"):
        CRITERIA.get("randon")
    with pytest.raises(UnknownNameError, match="unknown schedule"):
        SCHEDULES.get("zzz")


def test_a_name_is_registered_once() -> None:
    registry: Registry = Registry("toy")
    registry.register("b")(len)
    registry.register("a")(abs)
    assert registry.names() == ("a", "b")
    assert registry.get("b") is len
    with pytest.raises(UsageError, match="already registered"):
        registry.register("a")


def test_candidate_randomness_depends_on_seed_and_rate_alone() -> None:
    def draw(seed: int, rate: float) -> list[float]:
        return candidate_generator(seed, rate).random(4).tolist()

    np.random.default_rng(0).random(100)
    assert draw(7, 0.3) == draw(7, 0.3)
    assert draw(7, 0.3) != draw(7, 0.5)
    assert draw(7, 0.3) != draw(42, 0.3)
