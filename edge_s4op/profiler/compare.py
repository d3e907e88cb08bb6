"""Is A faster than B? An interval of the ratio of their latencies, from rounds run in turns.

Neighbouring runs share the machine's mood, so a run is not a fresh observation; a round is. With r_i the
logarithm of A's median over B's in round i, of n rounds,

    ratio    = exp(median of all (r_i + r_j) / 2, i <= j)                        Hodges and Lehmann
    interval = [exp(w_k - R), exp(w_(m + 1 - k) + R)],   m = n (n + 1) / 2

where w are those averages in ascending order and k is the largest with P(T <= k - 1) <= alpha / 2 for
Wilcoxon's signed-rank statistic T of n, computed exactly. It covers at every n, whatever the distribution of
r, if that is symmetric; and where A and B are alike but for a factor it is, as r is a difference of two alike
things.
Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd ed., sections 3.1 to 3.3.

R is not statistics. Two loads of one file differ for as long as they live: where their weights lie in memory
decides what they evict. More rounds of the same two loads narrow the interval around that difference, which
is not one of the models. So each end is moved out by R = log(1 + LOAD_SPREAD).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_s4op.artifact import sha256_of
from edge_s4op.errors import MeasurementError
from edge_s4op.messages import Comparison, Interval, Verdict
from edge_s4op.profiler.statistics import Samples, summarize
from edge_s4op.profiler.turns import Turns

__all__ = ["LOAD_SPREAD", "compare", "comparison_of", "verdict_of"]

# Two loads of one S4D classifier (0.28 ms, one thread, a PC) differed by up to 0.5 %, and stayed so.
LOAD_SPREAD = 0.01

Latencies = Sequence[float] | Samples


def compare(
    rounds: Sequence[tuple[Latencies, Latencies]], confidence: float = 0.95
) -> tuple[Verdict, float, Interval]:
    """Verdict on A, ratio A / B and its interval; a round is (latencies of A, latencies of B), ms.

    Ask once, when all rounds are over: asking after each and stopping at the first verdict makes false ones
    likelier. Raises MeasurementError for fewer rounds than `confidence` needs (at 95 %: 6), and for a round
    without a positive median.
    """
    logs = np.array([_log_ratio(number, *latencies) for number, latencies in enumerate(rounds)])
    averages = _pair_averages(logs)
    rank = _signed_rank(len(logs), (1 - confidence) / 2)
    if rank < 1:
        raise MeasurementError(
            f"{len(logs)} rounds cannot give an interval at confidence {confidence:g}",
            expected=f"a confidence of at most {max(1 - 2.0 ** (1 - len(logs)), 0):g}",
            fix="run more rounds, or ask for less confidence",
        )
    spread = math.log1p(LOAD_SPREAD)
    low, high = averages[rank - 1] - spread, averages[len(averages) - rank] + spread
    interval = Interval(low=math.exp(low), high=math.exp(high))
    return verdict_of(interval), math.exp(float(np.median(averages))), interval


def verdict_of(interval: Interval) -> Verdict:
    """What an interval of the ratio says: "faster" or "slower" only where all of it lies on one side of 1."""
    if interval.high < 1:
        return "faster"
    return "slower" if interval.low > 1 else "not resolved"


def comparison_of(turns: Turns, baseline_sha256: str, confidence: float = 0.95) -> Comparison:
    """The message that says how A (the model) did against B (the baseline). Raises as `compare` does."""
    verdict, ratio, interval = compare([(part.a_ms, part.b_ms) for part in turns.rounds], confidence)
    baseline_ms = turns.baseline_samples_ms
    return Comparison(
        baseline_sha256=baseline_sha256,
        verdict=verdict,
        ratio=ratio,
        interval=interval,
        rounds=len(turns.rounds),
        round_sizes=tuple((part.a_ms.size, part.b_ms.size) for part in turns.rounds),
        baseline_latency_ms=summarize(baseline_ms, confidence),
        baseline_samples_sha256=sha256_of(baseline_ms.astype("<f8").tobytes()),
    )


def _log_ratio(number: int, a_ms: Latencies, b_ms: Latencies) -> float:
    medians = [float(np.median(side)) if len(side) else math.nan for side in (a_ms, b_ms)]
    if not all(0 < median < math.inf for median in medians):
        raise MeasurementError(
            f"round {number} cannot be compared", expected="two medians above 0 ms", found=medians
        )
    return math.log(medians[0] / medians[1])


def _pair_averages(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(v_i + v_j) / 2 for all i <= j, ascending."""
    i, j = np.triu_indices(len(values))
    return np.sort((values[i] + values[j]) / 2)


def _signed_rank(n: int, tail: float) -> int:
    """The largest k with P(T <= k - 1) <= `tail`, or 0; T sums those of 1..n that fair coins choose."""
    chances = np.zeros(n * (n + 1) // 2 + 1)
    chances[0] = 1.0
    for rank in range(1, n + 1):
        shifted = np.concatenate([np.zeros(rank), chances[:-rank]])
        chances = (chances + shifted) / 2
    return int(np.searchsorted(np.cumsum(chances), tail * (1 + 1e-12), side="right"))
