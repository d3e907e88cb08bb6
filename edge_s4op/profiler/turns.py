"""Two models run in turns, so that what changes on the machine changes for both.

A round is four blocks of neighbouring runs, A B B A or B A A B by turns. So

- a linear drift adds the same to both within every round;
- the two models change places at every boundary between rounds: no stretch of neighbouring runs, and no mood
  of the machine that lasts as long, counts in two rounds;
- what a model leaves behind (caches, threads that still spin) meets the other as often as itself.

Runs at the start of a stretch are not counted: they find the caches of the other model. The number of
rounds and the length of a block are fixed before the first counted run, from a few runs of each model.
Nothing looks at the latencies to decide when to stop, so an interval over the rounds keeps its confidence.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edge_s4op.profiler.statistics import Samples

__all__ = ["SPIN_PAUSE_MS", "Round", "Turns", "least_rounds", "pause_ms_of", "sample_in_turns"]

Run = Callable[[], tuple[float, int]]

_NS_PER_MS = 1_000_000

# ONNX Runtime's pool spins for 32 ms after a call (measured on two cores), on cores the other model's threads
# want; a model alone needs no pause, for its own pool is the one that spins.
SPIN_PAUSE_MS = 50.0

_LEAST_ROUNDS, _MOST_ROUNDS = 10, 100
_SHORTEST_BLOCK_MS = 5.0
_LEAD_IN_MS = 2.0  # and one run at least: reads all of a model that fits a cache
_NO_LEAD_IN_MS = 500.0  # a run as long is over its own lead-in after 2 % of it
_TRIAL_RUNS, _TRIAL_MS = 5, 50.0
_SWITCHES = 3  # of a round: A | B B | A, and one to the next round


@dataclass(frozen=True)
class Round:
    """Latencies of one round, ms, in the order taken; `at_ms`: when they ended, since sampling began."""

    a_ms: Samples
    b_ms: Samples
    a_at_ms: Samples
    b_at_ms: Samples


@dataclass(frozen=True)
class Turns:
    """All rounds: A is the model, B the baseline. Uncounted runs are in `duration_ms` only."""

    rounds: tuple[Round, ...]
    began_ns: int
    duration_ms: float

    @property
    def samples_ms(self) -> Samples:
        """Latencies of A in the order taken."""
        return np.concatenate([part.a_ms for part in self.rounds])

    @property
    def at_ms(self) -> Samples:
        """When those of A ended, ms since sampling began."""
        return np.concatenate([part.a_at_ms for part in self.rounds])

    @property
    def baseline_samples_ms(self) -> Samples:
        """Latencies of B in the order taken."""
        return np.concatenate([part.b_ms for part in self.rounds])

    @property
    def baseline_at_ms(self) -> Samples:
        """When those of B ended, ms since sampling began."""
        return np.concatenate([part.b_at_ms for part in self.rounds])


def pause_ms_of(threads: int) -> float:
    """The pause that two models with thread pools need between them; none where there is no pool."""
    return SPIN_PAUSE_MS if threads > 1 else 0.0


def least_rounds(confidence: float) -> int:
    """Rounds needed for an interval at `confidence`: 2^(1 - n) <= 1 - confidence, and ten at least."""
    needed = 1
    while 2.0 ** (1 - needed) > 1 - confidence:
        needed += 1
    return max(_LEAST_ROUNDS, needed)


def sample_in_turns(
    run_a: Run,
    run_b: Run,
    *,
    min_duration_ms: float,
    max_duration_ms: float,
    confidence: float = 0.95,
    pause_ms: float = 0.0,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
    on_progress: Callable[[float], None] | None = None,
) -> Turns:
    """Latencies of A and B, both warmed up before, from rounds in turns.

    `run_a` and `run_b` run once and give the latency and the clock when it ended, ns (a `Stopwatch` does);
    what they raise (a failure, "cancelled") ends all. It takes about `max_duration_ms`, or `min_duration_ms`
    if that is more; longer where the least rounds, with one run a stretch, need it. `pause_ms` is slept
    (`sleep` takes seconds) wherever the models change places. `on_progress` gets the share done after each
    round.
    """
    a, b = _Model.tried(run_a, clock), _Model.tried(run_b, clock)
    plan = _plan(a, b, max(min_duration_ms, max_duration_ms), pause_ms, least_rounds(confidence))
    began = clock()
    rounds = []
    for number in range(plan.rounds):
        of_a, of_b = (a, _Log()), (b, _Log())
        outer, inner = (of_a, of_b) if number % 2 == 0 else (of_b, of_a)
        for (model, log), blocks in ((outer, 1), (inner, 2), (outer, 1)):
            if pause_ms > 0:
                sleep(pause_ms / 1000)
            model.stretch(blocks * plan.block_ms, log)
        rounds.append(_round(of_a[1], of_b[1], began))
        if on_progress is not None:
            on_progress((number + 1) / plan.rounds)
    return Turns(tuple(rounds), began, (clock() - began) / _NS_PER_MS)


@dataclass(frozen=True)
class _Plan:
    rounds: int
    block_ms: float


def _plan(a: _Model, b: _Model, total_ms: float, pause_ms: float, least: int) -> _Plan:
    uncounted_ms = _SWITCHES * (pause_ms + (a.lead_in_takes_ms + b.lead_in_takes_ms) / 2)
    shortest_block_ms = max(_SHORTEST_BLOCK_MS, pause_ms / 3)  # else nearly all the time is pauses
    shortest_ms = uncounted_ms + sum(2 * max(shortest_block_ms, model.run_ms) for model in (a, b))
    rounds = max(min(int(total_ms / shortest_ms), _MOST_ROUNDS), least)
    return _Plan(rounds, max((total_ms / rounds - uncounted_ms) / 4, shortest_block_ms))


@dataclass(frozen=True)
class _Model:
    """One of the two; `run_ms` is what a call takes, with all that is around the latency."""

    run: Run
    clock: Callable[[], int]
    run_ms: float

    @classmethod
    def tried(cls, run: Run, clock: Callable[[], int]) -> _Model:
        """From a few runs, at least one."""
        taken_ms: list[float] = []
        while len(taken_ms) < _TRIAL_RUNS and sum(taken_ms) < _TRIAL_MS:
            began = clock()
            run()
            taken_ms.append((clock() - began) / _NS_PER_MS)
        return cls(run, clock, float(np.median(taken_ms)))

    @property
    def lead_in_ms(self) -> float:
        return 0.0 if self.run_ms >= _NO_LEAD_IN_MS else _LEAD_IN_MS

    @property
    def lead_in_takes_ms(self) -> float:
        return max(self.lead_in_ms, self.run_ms) if self.lead_in_ms > 0 else 0.0

    def stretch(self, length_ms: float, log: _Log) -> None:
        """Run for the lead-in, then for `length_ms`, noted in `log`; each until it is over, once at least."""
        if self.lead_in_ms > 0:
            self._run_for(self.lead_in_ms, _Log())
        self._run_for(length_ms, log)

    def _run_for(self, length_ms: float, log: _Log) -> None:
        run, ended, ends = self.run, 0, self.clock() + int(length_ms * _NS_PER_MS)
        while ended < ends:
            latency, ended = run()
            log.latencies_ns.append(latency)
            log.ended_ns.append(ended)


@dataclass
class _Log:
    """Latencies and the times they ended, ns: 16 bytes a run, where lists of numbers take 72."""

    latencies_ns: array[float] = field(default_factory=lambda: array("d"))
    ended_ns: array[int] = field(default_factory=lambda: array("q"))

    def latencies_ms(self) -> Samples:
        return np.array(self.latencies_ns, dtype=np.float64) / _NS_PER_MS

    def at_ms(self, began_ns: int) -> Samples:
        return (np.array(self.ended_ns, dtype=np.int64) - began_ns) / _NS_PER_MS


def _round(a: _Log, b: _Log, began_ns: int) -> Round:
    return Round(a.latencies_ms(), b.latencies_ms(), a.at_ms(began_ns), b.at_ms(began_ns))
