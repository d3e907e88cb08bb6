"""Measuring: when it stops, what it reports, and that nothing is lost or made up."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from edge_s4op.artifact import Artifact
from edge_s4op.messages import Disturbance, Energy, Telemetry
from edge_s4op.profiler import Measured, device_facts, measure, samples_sha256, summarize
from edge_s4op.profiler.measure import check_points
from edge_s4op.runtime import available_backends, open_runner
from tests.edge_s4op import tiny
from tests.edge_s4op.simulation import MS, SHA, Simulation, noisy, quiet, request, run


def test_a_quiet_stream_stops_by_precision_at_the_fewest_iterations() -> None:
    result, samples = run(quiet())
    assert (result.stopped_by, result.iterations) == ("precision", 10)
    assert result.latency_ms.median == pytest.approx(5, rel=0.01)
    assert result.warmup_iterations in (40, 41)  # 200 ms of 5 ms
    assert len(samples) == 10


def test_a_quiet_stream_is_watched_for_the_least_duration() -> None:
    """Ten runs in a row agree with each other more than with the next measurement."""
    result, samples = run(quiet(), min_duration_ms=500)
    assert result.stopped_by == "precision"
    assert 500 <= samples.sum() <= 500 + samples[-1]


def test_the_time_cap_is_stronger_than_the_least_duration() -> None:
    _, samples = run(quiet(), min_duration_ms=500, max_duration_ms=100)
    assert samples.sum() <= 100 + samples[-1]


def test_a_noisy_stream_stops_by_time() -> None:
    runner = noisy()
    result, samples = run(runner, max_duration_ms=3000)
    assert result.stopped_by == "time"
    assert 3000 <= samples.sum() <= 3000 + samples[-1]


def test_precision_is_what_the_result_keeps() -> None:
    result, _ = run(noisy(sigma=0.1), max_duration_ms=60_000, precision=0.01)
    latency = result.latency_ms
    assert result.stopped_by == "precision"
    assert latency.median - latency.median_interval.low <= 0.01 * latency.median
    assert latency.median_interval.high - latency.median <= 0.01 * latency.median


@pytest.mark.parametrize("minimum", [1, 7, 123])
def test_min_iterations_are_honoured_past_the_time_cap(minimum: int) -> None:
    result, samples = run(noisy(), max_duration_ms=1, min_iterations=minimum)
    assert result.iterations == len(samples) == minimum
    assert result.stopped_by == "time"


def test_a_single_sample_is_never_precise() -> None:
    assert run(quiet(), min_iterations=1)[0].iterations == 6  # the fewest with an interval at 95 %


def test_one_warm_up_run_at_least() -> None:
    runner = quiet()
    result, samples = run(runner, warmup_ms=0)
    assert result.warmup_iterations == 1
    assert len(runner.seen) == 1 + len(samples)


def test_warm_up_is_not_counted() -> None:
    latencies = iter([900 * MS] + [5 * MS] * 50)
    result, samples = run(Simulation(latencies))
    assert result.warmup_iterations == 1
    assert samples.tolist() == [5.0] * 10


def falling(from_ms: float, to_ms: float, runs: int) -> Simulation:
    """Latency that falls from one level to the other, by equal factors, and stays there; spread of 1 %."""
    rng = np.random.default_rng(0)
    levels = itertools.chain(np.geomspace(from_ms, to_ms, runs), itertools.repeat(to_ms))
    return Simulation(int(level * rng.normal(1, 0.01) * MS) for level in levels)


def test_warm_up_goes_on_until_latency_has_settled() -> None:
    result, _ = run(falling(20, 5, runs=300), max_warmup_ms=60_000)
    assert result.warmup_iterations > 300
    assert result.stability is not None
    assert result.stability.stationary
    assert result.latency_ms.median == pytest.approx(5, rel=0.01)


def test_a_warm_up_that_never_settles_ends_and_says_so() -> None:
    result, _ = run(falling(20, 5, runs=3000), max_warmup_ms=3000)
    assert result.stability is not None
    assert not result.stability.stationary
    assert 3000 <= result.stability.warmup_ms < 3100


@pytest.mark.parametrize(("latency_ms", "repeats"), [(0.002, 10), (0.013, 2), (0.02, 1), (5, 1)])
def test_runs_too_short_for_the_clock_are_timed_together(latency_ms: float, repeats: int) -> None:
    runner = Simulation(itertools.repeat(int(latency_ms * MS)))
    result, samples = run(runner, min_repeat_ms=0.02, warmup_ms=1, max_duration_ms=50)
    assert (result.repeats, result.latency_ms.median) == (repeats, pytest.approx(latency_ms))
    assert len(runner.seen) == result.warmup_iterations + repeats * len(samples)
    assert result.throughput_per_s == pytest.approx(1000 / latency_ms)


def test_a_stream_that_slows_down_is_seen_to_drift() -> None:
    slower = Simulation(int(value * MS) for value in np.linspace(5, 6, 100_000))
    result, _ = run(slower, min_duration_ms=3000, max_duration_ms=3000)
    assert result.stability is not None
    assert result.stability.drift is None  # 0.6 % within the 3 s
    slower = Simulation(int(value * MS) for value in np.linspace(5, 6, 800))
    result, _ = run(slower, min_duration_ms=3000, max_duration_ms=3000)
    assert result.stability is not None
    assert result.stability.drift is not None
    assert result.stability.drift.change == pytest.approx(0.13, abs=0.05)


def test_two_levels_and_an_outlier_are_told_and_kept() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([5.0, 7.0], 5000, p=[0.7, 0.3]) * rng.normal(1, 0.005, 5000)
    values[300] = 40
    result, samples = run(
        Simulation(int(v * MS) for v in values), min_duration_ms=3000, max_duration_ms=3000, deadline_ms=6
    )
    stability, deadline = result.stability, result.deadline
    assert stability is not None
    assert deadline is not None
    assert [mode.median_ms for mode in stability.modes] == pytest.approx([5, 7], rel=0.01)
    assert stability.outliers.worst[0].latency_ms == samples.max() == result.latency_ms.maximum > 39
    assert stability.outliers.worst[0].index == samples.argmax()
    assert deadline.misses == (samples > 6).sum()
    assert deadline.worst == stability.outliers.worst[0]


def in_turns(ratio: float) -> Measured:
    """A model that takes `ratio` times the latency of its baseline, on one clock."""
    now = [0]
    rng = np.random.default_rng(1)

    def stream(level: float) -> Iterator[int]:
        return (int(rng.lognormal(np.log(level), 0.05) * MS) for _ in itertools.count())

    model, baseline = (Simulation(stream(level), now=now) for level in (5 * ratio, 5))
    return measure(
        model,
        request(baseline_sha256=SHA, max_duration_ms=3000, layers=False),
        baseline=baseline,
        clock=model.clock,
        sleep=lambda seconds: None,
        device_fingerprint="f",
    )


@pytest.mark.parametrize(("ratio", "verdict"), [(0.8, "faster"), (1.0, "not resolved"), (1.25, "slower")])
def test_a_baseline_is_run_in_turns_and_compared(ratio: float, verdict: str) -> None:
    measured = in_turns(ratio)
    comparison = measured.result.comparison
    assert comparison is not None
    assert measured.baseline_samples_ms is not None
    assert (comparison.verdict, comparison.baseline_sha256) == (verdict, SHA)
    assert comparison.interval.low <= ratio <= comparison.interval.high
    assert comparison.baseline_samples_sha256 == samples_sha256(measured.baseline_samples_ms)
    assert measured.result.latency_ms.median == pytest.approx(5 * ratio, rel=0.03)
    assert comparison.baseline_latency_ms == summarize(measured.baseline_samples_ms)
    assert measured.result.energy is None


@dataclass
class Watcher:
    """A recorder that notes what it is asked."""

    asked: list[object] = field(default_factory=list)

    def cool_down(self, max_ms: float, should_stop: Callable[[], bool]) -> float:
        self.asked.append(("cool down", max_ms))
        return 12.0

    def idle(self, on_gpu: bool) -> None:
        self.asked.append(("idle", on_gpu))

    @contextlib.contextmanager
    def sampling(self) -> Iterator[None]:
        self.asked.append("begin")
        yield
        self.asked.append("end")

    def at(self, time_ns: int) -> str | None:
        return f"{time_ns / MS:.0f} ms"

    def summary(self) -> Telemetry | None:
        return Telemetry(period_ms=50, readings=3, sensors=())

    def energy(self, duration_s: float, inferences: int) -> Energy | None:
        self.asked.append((duration_s, inferences))
        return None

    def disturbances(self) -> tuple[Disturbance, ...]:
        return (Disturbance(kind="cpu-load", what="0.9 cores were busy with other things"),)


def test_the_board_is_watched_while_latencies_are_sampled() -> None:
    watcher, runner = Watcher(), Simulation(itertools.repeat(5 * MS))
    asked = request(cooldown_max_ms=700, warmup_ms=20, min_duration_ms=100, deadline_ms=1)
    result = measure(runner, asked, recorder=watcher, clock=runner.clock, device_fingerprint="f").result
    assert watcher.asked == [("cool down", 700), ("idle", False), "begin", "end", (0.1, 20)]
    assert result.cooldown_ms == 12
    assert result.disturbed == watcher.disturbances()
    assert result.telemetry == watcher.summary()
    assert result.deadline is not None
    assert (result.deadline.worst.at_ms, result.deadline.worst.board) == (5, "25 ms")  # 20 of them warm-up


def test_layers_are_profiled_where_asked_for_and_the_backend_can() -> None:
    artifact = tiny.linear_artifact()
    for layers in (True, False):
        measured = measure(open_runner(artifact), request(layers=layers, max_duration_ms=50))
        assert (measured.result.layers is not None) is layers
    assert run(quiet(), layers=True)[0].layers is None  # a backend without a profiler


def test_the_same_stream_gives_the_same_result() -> None:
    first, again = (run(noisy(sigma=0.3)) for _ in range(2))
    results = [result.model_copy(update={"memory": None}) for result, _ in (first, again)]  # the process's
    assert results[0] == results[1]
    assert np.array_equal(first[1], again[1])


def test_the_result_is_what_the_samples_say() -> None:
    result, samples = run(noisy(sigma=0.3), confidence=0.9)
    assert result.latency_ms == summarize(samples, 0.9)
    assert result.throughput_per_s == pytest.approx(1000 * len(samples) / samples.sum())
    packed = struct.pack(f"<{len(samples)}d", *samples)
    assert result.samples_sha256 == samples_sha256(samples) == hashlib.sha256(packed).hexdigest()
    assert result.backend_version == "simulated"
    assert result.device_fingerprint == "f"
    assert result.request == request(confidence=0.9, backend="onnxruntime")


def test_stopping_early_keeps_the_medians_interval_honest() -> None:
    covered = []
    for seed in range(300):
        latency = run(noisy(sigma=0.05, seed=seed), warmup_ms=0)[0].latency_ms
        covered.append(latency.median_interval.low <= 5 <= latency.median_interval.high)
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("first", [1, 10, 5000])
def test_checks_between_samples_are_rare(first: int) -> None:
    n = 1_000_000
    counts = list(itertools.takewhile(lambda count: count <= n, check_points(first)))
    assert counts[0] == first
    assert all(a < b <= max(a + 1, 1.25 * a) for a, b in itertools.pairwise(counts))
    assert len(counts) < 70
    assert sum(counts) < 6 * n  # the samples all checks together sort


def test_many_fast_runs_are_measured_in_little_time() -> None:
    runner = noisy(sigma=1.0)
    began = time.perf_counter()
    result, _ = run(runner, max_duration_ms=600_000, precision=1e-6)
    assert result.iterations > 50_000
    assert time.perf_counter() - began < 10  # checking at every sample would take minutes


def test_every_run_gets_the_same_input_of_the_asked_batch() -> None:
    runner = quiet()
    run(runner, batch=3)
    assert runner.seen[0]["input"].shape == (3, tiny.SEQ_LEN, tiny.CHANNELS)
    assert all(np.array_equal(feeds["input"], runner.seen[0]["input"]) for feeds in runner.seen)


@pytest.mark.parametrize("runner", [quiet(), noisy(), quiet(1000.0)])
def test_progress_rises_from_0_to_1_in_few_steps(runner: Simulation) -> None:
    shares: list[float] = []
    measure(runner, request(), clock=runner.clock, on_progress=shares.append, device_fingerprint="f")
    assert shares[0] == 0
    assert shares[-1] == 1
    assert shares == sorted(shares)
    assert len(shares) <= 23


@pytest.mark.parametrize("artifact", [tiny.linear_artifact(), tiny.token_artifact()])
def test_onnxruntime_on_this_machine(artifact: Artifact) -> None:
    asked = request(artifact_sha256=artifact.sha256, warmup_ms=20, max_duration_ms=200, batch=2)
    measured = measure(open_runner(artifact), asked)
    result, samples = measured.result, measured.samples_ms
    assert (samples > 0).all()
    assert result.iterations == len(samples) >= 10
    assert result.device_fingerprint == device_facts(available_backends()).fingerprint
    assert result.backend_version == available_backends()["onnxruntime"]
    assert result.latency_ms.minimum <= result.latency_ms.median <= result.latency_ms.p99
