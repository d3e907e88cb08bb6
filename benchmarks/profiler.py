"""Whether the profiler can be trusted: on streams whose truth is known, and beside other ways to time.

Shares of many runs, 1.0 is best (`false_alarms`: 0):
    coverage_min       how often the median's interval holds the true median; the worst of the distributions
    drift_found        drifting streams said to drift
    bimodality_found   streams of two levels said to have two
    false_alarms       steady streams said to drift or to have two levels; the worst of the distributions
    aa_unresolved      comparisons of a model with itself that end "not resolved"; the worst of the noises
    ab10_found         comparisons with a model 10 % slower that say so; the worst of the noises
    real_*             the last two with ONNX Runtime: two loads of one file; one of them spinning for 10 %
Ratios of medians, 1.0 is best:
    vs_loop_median           our measurement over a plain loop with a clock around it, in turns on one session
    vs_ort_profile_median    our measurement over ONNX Runtime's own profile of the very same runs
    telemetry_overhead       latency while the board's sensors are read over latency while they are not
"""

from __future__ import annotations

import contextlib
import gc
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks import profiler_peers as peers
from benchmarks import profiler_streams as streams
from benchmarks.harness import Report, run
from edge_s4op.artifact import Artifact
from edge_s4op.messages import MeasurementRequest, MeasurementResult
from edge_s4op.profiler.compare import compare
from edge_s4op.profiler.measure import measure as measure_runner
from edge_s4op.profiler.telemetry.board import find_board
from edge_s4op.profiler.telemetry.recorder import TelemetryRecorder
from edge_s4op.profiler.turns import sample_in_turns
from edge_s4op.runtime import open_runner
from edge_s4op.runtime.feeds import random_feeds
from edge_s4op.runtime.protocol import Runner
from host.export import export_model
from host.models import Classifier, ModelConfig

__all__ = ["NOISES", "comparisons", "rounds_of", "vs_profile"]

Noise = Callable[[np.random.Generator, int], np.ndarray]

NOISES: dict[str, Noise] = {
    "log-normal 5 %": lambda rng, n: np.exp(0.05 * rng.standard_normal(n)),
    "log-normal 20 %": lambda rng, n: np.exp(0.2 * rng.standard_normal(n)),
    "heavy tails": lambda rng, n: np.exp(0.1 * rng.standard_t(2, n)),
    "bimodal": lambda rng, n: np.exp(0.05 * rng.standard_normal(n)) * np.where(rng.random(n) < 0.3, 1.25, 1),
}
MOOD, DRIFT = 0.03, 0.2  # of each model in each round; of both from first to last
ROUNDS, RUNS = 20, 60  # what runs of 1 ms get in the 3 s of a measurement, about
SLOWDOWN = 1.1
MEASURED_MS = 300.0
WATCHED_MS = 120.0  # some readings of the sensors

Row = list[object]


def measure(quick: bool) -> Report:
    """Coverage, drift, modes and comparisons where the truth is known; medians beside others'."""
    rows: list[Row] = []
    figures: dict[str, float] = {}
    for part in (_streams, _comparisons, _real_comparisons, _medians):
        for name, value, wanted in part(quick):
            rows.append([name, value, wanted])
            figures[name] = round(value, 4)
    return Report(("figure", "found", "wanted"), rows, figures)


Figures = Iterator[tuple[str, float, str]]


def _streams(quick: bool) -> Figures:
    runs, seed = (200 if quick else 1000), 0
    yield "coverage_min", min(streams.coverage(runs, seed).values()), ">= 0.93"
    yield "drift_found", min(streams.drift_found(runs, seed).values()), ">= 0.95"
    yield "bimodality_found", min(streams.bimodality_found(runs, seed).values()), ">= 0.95"
    yield "false_alarms", max(streams.false_alarms(runs, seed).values()), "<= 0.05"


def _comparisons(quick: bool) -> Figures:
    count = 150 if quick else 1000
    same = [comparisons(name, 1.0, count, seed=0).count("not resolved") / count for name in NOISES]
    slower = [comparisons(name, SLOWDOWN, count, seed=1).count("slower") / count for name in NOISES]
    yield "aa_unresolved", min(same), ">= 0.95"
    yield "ab10_found", min(slower), ">= 0.95"


def comparisons(noise: str, slowdown: float, count: int, seed: int) -> list[str]:
    """Verdicts on `count` models `slowdown` times as slow as their baselines."""
    rng = np.random.default_rng(seed)
    return [compare(list(rounds_of(rng, NOISES[noise], slowdown)), 0.95)[0] for _ in range(count)]


def rounds_of(
    rng: np.random.Generator, noise: Noise, slowdown: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rounds of latencies with moods and a drift, in units of the baseline's median."""
    for number in range(ROUNDS):
        level = math.exp(DRIFT * number / ROUNDS) * np.exp(MOOD * rng.standard_normal(2))
        yield level[0] * slowdown * noise(rng, RUNS), level[1] * noise(rng, RUNS)


def _real_comparisons(quick: bool) -> Figures:
    artifact = _artifact(seq_len=256, d_model=32, depth=2)
    count, duration_ms = (5, 1000.0) if quick else (40, 3000.0)
    verdicts = [_real_verdicts(artifact, duration_ms) for _ in range(count)]
    same, slower = zip(*verdicts, strict=True)
    yield "real_aa_unresolved", same.count("not resolved") / count, ">= 0.95"
    yield "real_ab10_found", slower.count("slower") / count, ">= 0.95"


def _real_verdicts(artifact: Artifact, duration_ms: float) -> tuple[str, str]:
    """Of two fresh loads: as they are, and with the first spinning for 10 % of the second's median."""
    loads = [open_runner(artifact, "onnxruntime", threads=1) for _ in range(2)]
    feeds = random_feeds(artifact.manifest, 1, 0)
    a, b = (lambda: loads[0].run(feeds)), (lambda: loads[1].run(feeds))
    median_ms = min(peers.loop_median_ms(case, 50) for case in (a, b))
    verdicts = []
    for first in (peers.timed(a), peers.slowed(a, (SLOWDOWN - 1) * median_ms)):
        gc.disable()  # as a measurement does
        turns = sample_in_turns(first, peers.timed(b), min_duration_ms=0, max_duration_ms=duration_ms)
        gc.enable()
        verdicts.append(compare([(part.a_ms, part.b_ms) for part in turns.rounds], 0.95)[0])
    return verdicts[0], verdicts[1]


def _medians(quick: bool) -> Figures:
    rounds = 8 if quick else 40
    # The first is so short that what else runs here interrupts few of its runs; the second so long that
    # passing arrays from and to Python, which ONNX Runtime does not count, is less than 1 % of it.
    short, long = (_artifact(seq_len, d_model=64, depth=4) for seq_len in (256, 1024))
    yield "vs_loop_median", _vs_loop(short, rounds), "0.97 .. 1.03"
    yield "vs_ort_profile_median", vs_profile(long, rounds), "0.97 .. 1.03"
    yield "telemetry_overhead", _watched_over_unwatched(short, rounds), "0.99 .. 1.01"


def _vs_loop(artifact: Artifact, rounds: int) -> float:
    """Median of rounds: half a loop, our measurement, half a loop. What drifts meets both."""
    runner = open_runner(artifact, "onnxruntime", threads=1)
    feeds = random_feeds(artifact.manifest, 1, 0)

    def once() -> float:
        before = peers.loop_median_ms(lambda: runner.run(feeds), runs)
        ours = _measured(runner, artifact).latency_ms.median
        return ours / math.sqrt(before * peers.loop_median_ms(lambda: runner.run(feeds), runs))

    runs = max(int(MEASURED_MS / 2 / peers.loop_median_ms(lambda: runner.run(feeds), 20)), 10)
    return statistics.median(once() for _ in range(rounds))


def vs_profile(artifact: Artifact, rounds: int) -> float:
    """Our median of a session that writes its profile, over the median of the same runs there."""
    with tempfile.TemporaryDirectory() as folder:
        runner = peers.ProfiledRunner(artifact, Path(folder))
        results = [_measured(runner, artifact) for _ in range(rounds)]
        theirs_ms = runner.profile_ms()
    ratios, end = [], len(theirs_ms)
    for result in reversed(results):
        begin = end - result.iterations * result.repeats
        ratios.append(result.latency_ms.median / statistics.median(theirs_ms[begin:end]))
        end = begin - result.warmup_iterations
    assert end == 0, "the profile holds other runs than ours"
    return statistics.median(ratios)


def _watched_over_unwatched(artifact: Artifact, rounds: int) -> float:
    """Median of rounds, half of them begun watched, of latency while the board's sensors are read or not."""
    runner = open_runner(artifact, "onnxruntime", threads=1)
    feeds = random_feeds(artifact.manifest, 1, 0)
    recorder = TelemetryRecorder(find_board())
    runs = max(int(WATCHED_MS / peers.loop_median_ms(lambda: runner.run(feeds), 20)), 10)

    def median_ms(watched: bool) -> float:
        with recorder.sampling() if watched else contextlib.nullcontext():
            return peers.loop_median_ms(lambda: runner.run(feeds), runs)

    ratios = []
    for number in range(4 * rounds):
        order = (True, False) if number % 2 else (False, True)
        medians = {watched: median_ms(watched) for watched in order}
        ratios.append(medians[True] / medians[False])
    return statistics.median(ratios)


def _measured(runner: Runner, artifact: Artifact) -> MeasurementResult:
    request = MeasurementRequest(
        artifact_sha256=artifact.sha256,
        warmup_ms=20,
        max_warmup_ms=20,
        min_duration_ms=MEASURED_MS,
        max_duration_ms=MEASURED_MS,
    )
    return measure_runner(runner, request).result


def _artifact(seq_len: int, d_model: int, depth: int) -> Artifact:
    torch.manual_seed(0)
    config = ModelConfig(
        kind="s4d", num_classes=2, seq_len=seq_len, d_input=1, d_model=d_model, depth=depth, norm="batch"
    )
    return export_model(Classifier(config).eval())


if __name__ == "__main__":
    run("profiler", measure)
