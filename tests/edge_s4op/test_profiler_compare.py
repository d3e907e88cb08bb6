"""Faster, slower, not resolved: seldom a false verdict, nearly always the true one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edge_s4op.errors import MeasurementError
from edge_s4op.messages import Interval
from edge_s4op.profiler import compare as module
from edge_s4op.profiler.compare import LOAD_SPREAD, compare, comparison_of, verdict_of
from edge_s4op.profiler.statistics import summarize
from edge_s4op.profiler.turns import Round, Turns

SHA256 = "b" * 64
NOISES = ("log-normal 0.05", "log-normal 0.2", "heavy tails", "bimodal")


def noise(rng: np.random.Generator, name: str, size: int) -> np.ndarray:
    if name.startswith("log-normal"):
        return np.exp(float(name.split()[1]) * rng.standard_normal(size))
    if name == "heavy tails":
        return np.exp(0.1 * rng.standard_t(2, size))
    return np.exp(0.05 * rng.standard_normal(size)) * np.where(rng.random(size) < 0.3, 1.25, 1.0)


def rounds_of(rng: np.random.Generator, name: str, slowdown: float, rounds: int = 20, runs: int = 60):
    """Rounds with a mood of 3 % for each side and a drift of 20 % they share."""
    for number in range(rounds):
        level = math.exp(0.2 * number / rounds)
        moods = np.exp(0.03 * rng.standard_normal(2))
        yield noise(rng, name, runs) * level * moods[0] * slowdown, noise(rng, name, runs) * level * moods[1]


def verdicts(name: str, slowdown: float, count: int) -> list[str]:
    rng = np.random.default_rng(7)
    return [compare(list(rounds_of(rng, name, slowdown)), 0.95)[0] for _ in range(count)]


@pytest.mark.parametrize("name", NOISES)
def test_a_model_against_itself_is_not_resolved(name: str):
    found = verdicts(name, 1.0, 150)
    assert found.count("not resolved") >= 0.95 * len(found)


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize(("slowdown", "verdict"), [(1.1, "slower"), (1 / 1.1, "faster")])
def test_ten_percent_are_found(name: str, slowdown: float, verdict: str):
    found = verdicts(name, slowdown, 60)
    assert found.count(verdict) >= 0.95 * len(found)


def test_the_interval_without_the_load_spread_covers_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LOAD_SPREAD", 0.0)
    rng = np.random.default_rng(3)
    intervals = [compare(list(rounds_of(rng, "log-normal 0.05", 1.3, 12, 20)), 0.9)[2] for _ in range(600)]
    share = np.mean([interval.low <= 1.3 <= interval.high for interval in intervals])
    assert 0.87 <= share <= 0.945


def test_ranks_are_those_of_wilcoxons_table():
    # largest T with a two-sided level of 0.05 (Hollander, Wolfe and Chicken, table A.4), by n
    for n, critical in {6: 0, 7: 2, 8: 3, 9: 5, 10: 8, 15: 25, 20: 52}.items():
        assert module._signed_rank(n, 0.025) == critical + 1


@pytest.mark.parametrize("n", [3, 6, 9])
def test_ranks_are_those_of_counting_all_signs(n: int):
    sums = [sum(itertools.compress(range(1, n + 1), coins)) for coins in itertools.product((0, 1), repeat=n)]
    for tail in (0.01, 0.05, 0.2):
        rank = module._signed_rank(n, tail)
        assert np.mean(np.array(sums) <= rank - 1) <= tail < np.mean(np.array(sums) <= rank)


def test_steady_rounds_give_the_ratio_and_an_interval_as_wide_as_two_loads_differ():
    verdict, ratio, interval = compare([([2.0, 2.0, 9.0], [4.0, 4.0])] * 10, 0.95)
    assert (verdict, ratio) == ("faster", pytest.approx(0.5))
    assert interval.low == pytest.approx(0.5 / (1 + LOAD_SPREAD))
    assert interval.high == pytest.approx(0.5 * (1 + LOAD_SPREAD))


def test_a_difference_as_two_loads_of_one_file_have_is_not_resolved():
    assert compare([([1.005], [1.0])] * 40, 0.95)[0] == "not resolved"
    assert compare([([1.02], [1.0])] * 40, 0.95)[0] == "slower"


def test_one_mad_round_changes_nothing():
    rounds = [([1.1], [1.0])] * 11
    assert compare([*rounds, ([100.0], [1.0])], 0.95)[:2] == ("slower", pytest.approx(1.1, rel=0.01))


def test_swapping_the_two_turns_the_answer_around():
    rounds = list(rounds_of(np.random.default_rng(1), "heavy tails", 1.2))
    verdict, ratio, interval = compare(rounds, 0.95)
    other, inverse, mirrored = compare([(b, a) for a, b in rounds], 0.95)
    assert (verdict, other) == ("slower", "faster")
    assert ratio * inverse == pytest.approx(1)
    assert (mirrored.low, mirrored.high) == (
        pytest.approx(1 / interval.high),
        pytest.approx(1 / interval.low),
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.8, 0.9, "faster"), (1.1, 1.2, "slower"), (0.9, 1.1, "not resolved"), (0.9, 1.0, "not resolved")],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(low: float, high: float, verdict: str):
    assert verdict_of(Interval(low=low, high=high)) == verdict


def test_too_few_rounds_are_an_error_that_says_how_far_they_go():
    with pytest.raises(MeasurementError, match=r"5 rounds .* at most 0.9375"):
        compare([([1.0], [1.0])] * 5, 0.95)
    compare([([1.0], [1.0])] * 5, 0.9375)
    with pytest.raises(MeasurementError):
        compare([], 0.95)


@pytest.mark.parametrize("bad", [[], [0.0], [float("nan")]])
def test_a_round_without_a_median_is_an_error(bad: list[float]):
    with pytest.raises(MeasurementError, match="round 1"):
        compare([([1.0], [1.0]), (bad, [1.0])], 0.5)


def test_the_message_says_what_was_compared():
    rng = np.random.default_rng(5)
    parts = tuple(
        Round(a, b, np.arange(a.size), np.arange(b.size)) for a, b in rounds_of(rng, "bimodal", 1.5)
    )
    turns = Turns(parts, 0, 3000.0)
    message = comparison_of(turns, SHA256, 0.95)
    assert message.baseline_sha256 == SHA256
    assert message.verdict == "slower"
    assert message.interval.low <= message.ratio <= message.interval.high
    assert (message.rounds, message.round_sizes) == (20, ((60, 60),) * 20)
    assert message.baseline_latency_ms == summarize(turns.baseline_samples_ms, 0.95)
