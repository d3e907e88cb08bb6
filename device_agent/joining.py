"""How many requests to join where nobody has said: found by timing the model while it is warmed."""

from __future__ import annotations

import time
from collections.abc import Callable

from device_agent.batching import has_batch_axis
from edge_s4op.runtime import Runner
from edge_s4op.runtime.feeds import random_feeds

__all__ = ["best_batch", "time_run_s"]

_SIZES = (2, 4, 8)
_GAIN = 0.95  # of what a row took in the smaller batch; less gain is no reason to let requests wait
# What a run costs beside the model's time: wakes, locks, counting. On two cores of an EPYC a worker at 8
# clients took 0.2 ms more than the model's 0.5 ms.
_RUN_S = 1e-4
_RUNS, _LONGEST_S = 15, 0.2  # of timing one batch size; three runs in any case
_LONG_S = 1.0  # a run that takes so long is told from others without a second one
_SLOW_S = 0.05  # a model this slow is all arithmetic: in a batch its first request only waits for the others


def best_batch(runner: Runner, now_s: Callable[[], float] = time.perf_counter) -> int:
    """Rows of the batch in which a request is cheapest, 8 at most; 1 where joining gains less than 5 %.

    What a request costs is its share of the model's time and of `_RUN_S`.

    Batches of 2, 4 and 8 random rows are timed for 0.2 s each, as long as each gains upon the one before.
    Raises InferenceError, BadInferenceInputError.
    """
    if not has_batch_axis(runner.manifest):
        return 1
    alone_s = time_run_s(runner, 1, now_s, _RUNS, _LONGEST_S)
    if alone_s > _SLOW_S:
        return 1
    best, cost_s = 1, alone_s + _RUN_S
    for rows in _SIZES:
        joined_s = (time_run_s(runner, rows, now_s, _RUNS, _LONGEST_S) + _RUN_S) / rows
        if joined_s > _GAIN * cost_s:
            break
        best, cost_s = rows, joined_s
    return best


def time_run_s(
    runner: Runner, rows: int, now_s: Callable[[], float], most_runs: int, longest_s: float
) -> float:
    """Seconds of the fastest of some runs of `rows` random rows: what else goes on must not count.

    At least three runs (one, if it takes a second), `most_runs` at most, and no more begun after `longest_s`.
    Raises InferenceError, BadInferenceInputError.
    """
    feeds, began = random_feeds(runner.manifest, rows), now_s()
    times_s: list[float] = []
    while len(times_s) < 3 or (len(times_s) < most_runs and now_s() - began < longest_s):
        before = now_s()
        runner.run(feeds)
        times_s.append(now_s() - before)
        if times_s[-1] >= _LONG_S:
            break
    return max(min(times_s), 1e-6)
