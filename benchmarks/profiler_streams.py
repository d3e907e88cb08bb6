"""Synthetic latency streams whose truth is known, and how often the profiler's statistics find it.

Every function returns plain shares of seeded runs: the same seed gives the same figures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_s4op.artifact import Manifest
from edge_s4op.messages import MeasurementRequest
from edge_s4op.profiler.deadline import deadline_of
from edge_s4op.profiler.drift import find_drift
from edge_s4op.profiler.modes import find_modes
from edge_s4op.profiler.parts import PartLog
from edge_s4op.profiler.sampling import Progress, Stopwatch, sample
from edge_s4op.profiler.statistics import quantile_interval

__all__ = [
    "BIMODAL",
    "DRIFTING",
    "MEDIANS",
    "QUICK_RUNS",
    "RUNS",
    "STATIONARY",
    "bimodality_found",
    "coverage",
    "drift_found",
    "false_alarms",
]

RUNS, QUICK_RUNS = 500, 100

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]

LEVEL_MS = 5.0
_MOST_SAMPLES = 1200  # twice what sampling may last by default


def _normal(rng: np.random.Generator, n: int) -> Array:
    return rng.normal(1.0, 0.05, n)


def _log_normal(rng: np.random.Generator, n: int, sigma: float = 0.1) -> Array:
    return rng.lognormal(0.0, sigma, n)


def _skewed(rng: np.random.Generator, n: int) -> Array:
    """As latencies often are: a floor, and an exponential above it."""
    return 1 + rng.exponential(0.1, n)


def _student(rng: np.random.Generator, n: int) -> Array:
    """1 + 0.03 |t| with two degrees of freedom: no variance, but a median."""
    return 1 + 0.03 * np.abs(rng.standard_t(2, n))


def _pareto(rng: np.random.Generator, n: int) -> Array:
    """Classical Pareto above 1 with index 10: P(X > x) = x^-10."""
    return 1 + rng.pareto(10, n)


def _autocorrelated(rng: np.random.Generator, n: int, rho: float = 0.6) -> Array:
    """exp of an AR(1) process of standard deviation 0.05."""
    noise = rng.normal(0.0, 0.05 * math.sqrt(1 - rho * rho), n)
    noise[0] /= math.sqrt(1 - rho * rho)
    steps = itertools.accumulate(noise, lambda past, new: rho * past + new)
    return np.asarray(np.exp(np.fromiter(steps, np.float64, n)))


def _ticks(rng: np.random.Generator, n: int) -> Array:
    """Log-normal, seen by a clock that knows only some ten values of it."""
    return np.round(rng.lognormal(0.0, 0.05, n) * 40) / 40


def _two_levels(share: float, ratio: float, sigma: float) -> Draw:
    """Log-normal around 1, and in `share` of samples, at random, around `ratio`."""
    return lambda rng, n: np.where(rng.random(n) < share, ratio, 1.0) * rng.lognormal(0.0, sigma, n)


def _line(change: float, noise: Draw) -> Draw:
    return lambda rng, n: (1 + change * np.linspace(0, 1, n)) * noise(rng, n)


def _step(change: float, at: float, noise: Draw) -> Draw:
    return lambda rng, n: (1 + change * (np.arange(n) >= at * n)) * noise(rng, n)


def _quiet(rng: np.random.Generator, n: int) -> Array:
    return _log_normal(rng, n, 0.05)


@dataclass(frozen=True)
class Stream:
    """Latencies in units of their level, and how many of them one run takes."""

    draw: Draw
    n: int = 300


STATIONARY: Mapping[str, Stream] = {
    "normal": Stream(_normal),
    "log-normal": Stream(_log_normal),
    "log-normal, 3000": Stream(_log_normal, 3000),
    "exponential": Stream(_skewed),
    "Student's t, 2 degrees": Stream(_student),
    "Student's t, 3000": Stream(_student, 3000),
    "Pareto, index 10": Stream(_pareto),
    "AR(1), 0.6": Stream(_autocorrelated),
    "AR(1), 0.6, 3000": Stream(_autocorrelated, 3000),
    "coarse clock": Stream(_ticks),
}

BIMODAL: Mapping[str, Stream] = {
    "1.15, one in two": Stream(_two_levels(0.5, 1.15, 0.03)),
    "1.15, three in ten": Stream(_two_levels(0.3, 1.15, 0.03)),
    "1.15, one in ten": Stream(_two_levels(0.1, 1.15, 0.02), 500),
    "1.15, nine in ten": Stream(_two_levels(0.9, 1.15, 0.02), 500),
    "1.15, one in ten, sigma 0.03": Stream(_two_levels(0.1, 1.15, 0.03), 2000),
    "1.15, nine in ten, sigma 0.03": Stream(_two_levels(0.9, 1.15, 0.03), 2000),
    "1.3, one in ten": Stream(_two_levels(0.1, 1.3, 0.03)),
    "2, four in ten": Stream(_two_levels(0.4, 2.0, 0.02)),
}

DRIFTING: Mapping[str, Stream] = {
    "line +5 %, sigma 0.05": Stream(_line(0.05, _quiet)),
    "line -5 %, sigma 0.05": Stream(_line(-0.05, _quiet)),
    "line +5 %, sigma 0.1, 1500": Stream(_line(0.05, _log_normal), 1500),
    "line +10 %, sigma 0.1": Stream(_line(0.1, _log_normal)),
    "line +10 %, Student's t": Stream(_line(0.1, _student)),
    "step +5 % in the middle": Stream(_step(0.05, 0.5, _quiet)),
    "step +10 % at three quarters": Stream(_step(0.1, 0.75, _quiet)),
}


@dataclass(frozen=True)
class Known:
    """A stream of 1200 latencies, and the true median of its first n."""

    draw: Draw
    median: Callable[[int], float]


# Without autocorrelation: an interval of the median is of independent samples, as the documentation says.
MEDIANS: Mapping[str, Known] = {
    "normal": Known(_normal, lambda n: 1.0),
    "log-normal": Known(_log_normal, lambda n: 1.0),
    "bimodal": Known(_two_levels(0.3, 1.2, 0.03), lambda n: _mixture_median((1.0, 1.2), (0.7, 0.3), 0.03)),
    "bimodal, one in two": Known(
        _two_levels(0.5, 1.2, 0.03), lambda n: _mixture_median((1.0, 1.2), (0.5, 0.5), 0.03)
    ),
    "bimodal, one in two, sigma 0.01": Known(
        _two_levels(0.5, 1.2, 0.01), lambda n: _mixture_median((1.0, 1.2), (0.5, 0.5), 0.01)
    ),
    "drifting": Known(
        _line(0.2, _quiet),
        lambda n: _mixture_median(1 + 0.2 * np.linspace(0, 1, _MOST_SAMPLES)[:n], None, 0.05),
    ),
    "heavy tails": Known(_student, lambda n: 1 + 0.03 * math.sqrt(2 / 3)),
}


def coverage(runs: int = RUNS, seed: int = 0) -> dict[str, float]:
    """By stream, how often the 95 % interval of the median holds the true one when the real rule stops.

    The drifting stream rises by 10 % in the 3 s that sampling may last; its true median is the one of the
    mixture of all levels until sampling stopped.
    """
    return {
        name: float(np.mean([_is_covered(known, rng) for rng in _generators(runs, seed)]))
        for name, known in MEDIANS.items()
    }


def drift_found(runs: int = RUNS, seed: int = 0) -> dict[str, float]:
    """By drifting stream, how often drift of the right sign is found."""
    return {name: _share(stream, _drifts_as(name), runs, seed) for name, stream in DRIFTING.items()}


def bimodality_found(runs: int = RUNS, seed: int = 0) -> dict[str, float]:
    """By bimodal stream, how often two modes are found."""
    return {name: _share(stream, _is_bimodal, runs, seed) for name, stream in BIMODAL.items()}


def false_alarms(runs: int = RUNS, seed: int = 0) -> dict[str, float]:
    """By finding and stream, how often drift, two modes or clustered misses are found where there are none.

    Misses of the autocorrelated streams do cluster, so these are left out there.
    """
    alarms: dict[str, float] = {}
    for name, stream in STATIONARY.items():
        alarms[f"drift: {name}"] = _share(stream, _drifts, runs, seed)
        alarms[f"modes: {name}"] = _share(stream, _is_bimodal, runs, seed)
        if not name.startswith("AR"):
            alarms[f"clusters: {name}"] = _share(stream, _misses_cluster, runs, seed)
    for name, stream in BIMODAL.items():
        alarms[f"drift: bimodal, {name}"] = _share(stream, _drifts, runs, seed)
    return alarms


def _generators(runs: int, seed: int) -> Iterator[np.random.Generator]:
    return (np.random.default_rng((seed, run)) for run in range(runs))


def _share(stream: Stream, found: Callable[[Array], bool], runs: int, seed: int) -> float:
    return float(np.mean([found(LEVEL_MS * stream.draw(rng, stream.n)) for rng in _generators(runs, seed)]))


def _drifts(samples_ms: Array) -> bool:
    return find_drift(samples_ms, np.cumsum(samples_ms)) is not None


def _drifts_as(name: str) -> Callable[[Array], bool]:
    def right(samples_ms: Array) -> bool:
        drift = find_drift(samples_ms, np.cumsum(samples_ms))
        return drift is not None and (drift.change < 0) == ("-" in name)

    return right


def _is_bimodal(samples_ms: Array) -> bool:
    return len(find_modes(samples_ms)) == 2


def _misses_cluster(samples_ms: Array) -> bool:
    return deadline_of(samples_ms, np.cumsum(samples_ms), float(np.quantile(samples_ms, 0.9))).clustered


@dataclass
class _Replay:
    """A runner that takes the given latencies, and its clock, ns."""

    latencies_ns: Iterator[int]
    manifest: Manifest = field(default_factory=lambda: Manifest.model_construct())
    backend: str = "replay"
    backend_version: str = "0"
    now_ns: int = 0

    def clock(self) -> int:
        return self.now_ns

    def run(self, feeds: Mapping[str, object]) -> dict[str, Array]:
        self.now_ns += next(self.latencies_ns)
        return {}

    def close(self) -> None:
        pass


def _is_covered(known: Known, rng: np.random.Generator) -> bool:
    """Sample as measuring does, with its defaults, until its rule stops."""
    latencies_ns = LEVEL_MS * 1e6 * known.draw(rng, _MOST_SAMPLES)
    runner = _Replay(map(int, latencies_ns))
    request = MeasurementRequest(artifact_sha256="0" * 64)
    sampled = sample(Stopwatch(runner, {}, runner.clock), request, Progress(None, 1.0), PartLog(runner))
    interval = quantile_interval(np.sort(sampled.samples_ms), 0.5, request.confidence)
    return interval.low <= LEVEL_MS * known.median(len(sampled.samples_ms)) <= interval.high


def _mixture_median(levels: Sequence[float] | Array, weights: Sequence[float] | None, sigma: float) -> float:
    """Median of log-normals around `levels` (equally likely without `weights`), by bisection."""
    low, high = float(min(levels)), float(max(levels))
    for _ in range(50):
        middle = (low + high) / 2
        z = np.log(middle / np.asarray(levels)) / (sigma * math.sqrt(2))
        below = np.average([0.5 * (1 + math.erf(each)) for each in z], weights=weights)
        low, high = (middle, high) if below < 0.5 else (low, middle)
    return (low + high) / 2
