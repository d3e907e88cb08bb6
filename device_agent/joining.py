"""How many requests to join where nobody has said: found by timing the model while it is warmed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from device_agent.batching import has_batch_axis
from edge_s4op.runtime import Runner
from edge_s4op.runtime.feeds import random_feeds

__all__ = ["best_batch", "time_runs_s"]

_MOST_ROWS = 8
_GAIN = 0.95  # of what a row took in the smaller batch; less gain is no reason to let requests wait
# What a run costs beside the model's time: wakes, locks, counting. On two cores of an EPYC a worker at 8
# clients took 0.2 ms more than the model's 0.5 ms, part of that for want of warm caches.
_RUN_S = 1e-4
_RUNS, _LONGEST_S = 25, 0.2  # of timing one batch size; three runs in any case
_LONG_S = 1.0  # a run that takes so long is told from others without a second one
_SLOW_S = 0.05  # a model this slow is all arithmetic: in a batch its first request only waits for the others


def best_batch(runner: Runner, now_s: Callable[[], float] = time.perf_counter) -> int:
    """Rows of the batch in which a request is cheapest, 8 at most; 1 where joining gains less than 5 %.

    What a request costs is its share of the model's time and of `_RUN_S`. Batches of 2, 4 and 8 random rows
    are timed as long as each gains upon the one before, in turns with it: the device may be slower in one
    moment than in the next. Raises InferenceError, BadInferenceInputError.
    """
    if not has_batch_axis(runner.manifest):
        return 1
    if time_runs_s(runner, (1,), now_s, 3, _LONGEST_S)[0] > _SLOW_S:
        return 1
    rows = 1
    while rows < _MOST_ROWS:
        alone_s, joined_s = time_runs_s(runner, (rows, 2 * rows), now_s, _RUNS, _LONGEST_S)
        if (joined_s + _RUN_S) / 2 > _GAIN * (alone_s + _RUN_S):
            break
        rows *= 2
    return rows


def time_runs_s(
    runner: Runner, sizes: Sequence[int], now_s: Callable[[], float], most_runs: int, longest_s: float
) -> list[float]:
    """Seconds of the fastest of some runs of each of `sizes` random rows: what else goes on must not count.

    The sizes take turns: at least three (one, if a run takes a second), `most_runs` at most, and no more
    begun after `longest_s` for each of them. Raises InferenceError, BadInferenceInputError.
    """
    feeds, began = [random_feeds(runner.manifest, rows) for rows in sizes], now_s()
    fastest_s, turns, is_long = [math.inf] * len(sizes), 0, False
    while not is_long and (turns < 3 or (turns < most_runs and now_s() - began < longest_s * len(sizes))):
        for number, drawn in enumerate(feeds):
            before = now_s()
            runner.run(drawn)
            took_s = now_s() - before
            fastest_s[number] = min(fastest_s[number], took_s)
            is_long |= took_s >= _LONG_S
        turns += 1
    return [max(each, 1e-6) for each in fastest_s]
