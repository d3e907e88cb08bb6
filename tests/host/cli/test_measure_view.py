"""What the terminal shows of a measurement: all it says, and warnings where they are due."""

from __future__ import annotations

import re

import numpy as np
import pytest

from host.measure_view.bins import bins_of
from host.measure_view.words import clock_words
from tests.host.cli.measure_samples import (
    DEADLINE,
    DISTURBED,
    FACTS,
    FULL,
    REBUILDS,
    UNSTEADY,
    comparison,
    printed,
    result_of,
    samples,
    statistics,
)


def words(text: str) -> str:
    """As one line: where a sentence is wrapped does not matter."""
    return " ".join(text.split())


def bars(text: str, rows: str) -> list[int]:
    """Lengths of the bars in the lines that match."""
    lines = [line for line in text.splitlines() if re.search(rows, line)]
    return [len(re.findall("[█▏▎▍▌▋▊▉]", line)) for line in lines]


def test_every_statistic_is_shown_with_its_interval_if_it_has_one() -> None:
    rows = {line.split()[0]: line.split()[1:] for line in printed(result_of()).splitlines() if line.strip()}
    assert rows["median"] == ["1.0000", "0.9900", "..", "1.0100"]
    assert rows["p99.9"] == ["4.2000"]
    names = ["minimum", "mean", "median", "p90", "p95", "p99", "p99.9", "maximum"]
    assert [name for name in rows if name in names] == names


def test_a_result_of_an_earlier_version_is_shown_without_what_it_lacks() -> None:
    text = printed(result_of(latency_ms=statistics(p99_9=None)), np.array([]))
    assert "p99.9" not in text
    assert "DISTURBED" not in text
    assert "None" not in text


def test_everything_that_was_measured_is_shown() -> None:
    text = words(printed(result_of({"layers": True}, **FULL)))
    for expected in (
        "GPU compute 0.2500 0.5000",
        "enqueue (beside them)",
        "temperature gpu 41 42.5 44 degC",
        "60 readings of the board, every 50 ms",
        "peak while sampling 210.0 MiB, of it for the model 12.0 MiB",
        "2.5 mJ an inference (95 % interval 2.4 .. 2.6), 5.5 mJ with idling",
        "engine kkkkkkkkkkkk, 5.0 MiB: no SSMConv plugin",
        "settled after 312 ms of warm-up",
        "no drift found",
        "3 outliers above 1.6000 ms (1.5 %), slowest first: 4.2000 ms, sample 17 at 231 ms: clock cpu 729",
        "throughput 909.1 /s",
    ):
        assert expected in text


def test_the_modes_are_those_that_ran() -> None:
    asked = {"spin_wait": True, "cuda_graph": None, "transfers": False, "threads": 2, "batch": 4}
    ran = words(printed(result_of(asked, engine=FULL["engine"])))
    assert "onnxruntime 1.23, batch 4, 2 threads, transfers not counted, spin-wait off, CUDA graph on" in ran
    assert "1 thread, transfers counted, spin-wait not applicable" in words(printed(result_of()))


def test_clocks_are_locked_only_if_all_are() -> None:
    assert clock_words(FACTS) == "clocks not locked (cpu 1510 MHz, gpu 306 .. 625 MHz)"
    locked = FACTS.model_copy(update={"clocks": {"cpu": "1510 MHz"}})
    assert clock_words(locked) == "clocks locked (cpu 1510 MHz)"
    assert clock_words(FACTS.model_copy(update={"clocks": {}})) == clock_words(None) == "clocks unknown"


def test_a_disturbed_measurement_says_so_first() -> None:
    text = printed(result_of(disturbed=DISTURBED))
    first, second = text.splitlines()[:2]
    assert first.startswith("DISTURBED")
    assert second.strip() == "cpu-load: other processes took 40 % of the CPU"


def test_what_is_unsteady_is_said() -> None:
    text = words(printed(result_of(stability=UNSTEADY)))
    assert "NOT settled: latency still moved after 312 ms of warm-up" in text
    assert "drift: latency rose by 5.2 % (99 % interval 3.1 .. 7.3 %)" in text
    assert "bimodal, so that the median alone misleads: 0.8000 ms (70 %), 1.2000 ms (30 %)" in text


@pytest.mark.parametrize(
    ("verdict", "ratio", "expected"),
    [
        ("faster", 0.8, "faster than old.onnx: 0.8000 times its median (95 % interval 0.7900 .. 0.8100)"),
        ("slower", 1.25, "slower than old.onnx: 1.2500 times"),
        ("not resolved", 1.0, "not resolved against old.onnx: 1.0000 times"),
    ],
)
def test_a_comparison_says_its_verdict_and_both_medians(verdict: str, ratio: float, expected: str) -> None:
    text = words(printed(result_of(comparison=comparison(verdict, ratio)), baseline="old.onnx"))
    assert expected in text
    assert f"medians 1.0000 ms (0.9900 .. 1.0100) against {1 / ratio:.4f} ms" in text
    assert "in 40 turns of each" in text


def test_a_deadline_is_answered_with_its_misses_and_the_worst() -> None:
    text = words(printed(result_of(deadline=DEADLINE)))
    assert (
        "deadline 1.5 ms: 3 of 200 missed, 1.5 % (interval 0.3 .. 4.3 %), at most 2 in a row, clustered"
        in text
    )
    assert "p99.9 4.2000 ms; worst 4.2000 ms, sample 17 at 231 ms: clock cpu 729 MHz" in text


def test_rebuilds_show_their_spread() -> None:
    text = words(printed(result_of(rebuilds=REBUILDS)))
    assert "2 builds: medians 1.0000, 1.0200 ms, the largest 2 % above the smallest" in text


def test_layers_have_bars_as_long_as_their_share() -> None:
    text = printed(result_of({"layers": True}, layers=FULL["layers"]))
    long, short = bars(text, "blocks.0.ssm|head ")
    assert long == 3 * short > 0
    assert "MatMul 0.6000, Add 0.3000" in text
    assert "onnxruntime profile, 20 runs of their own" in text


def test_layers_that_were_asked_for_and_are_not_there_are_missed() -> None:
    assert "no time per layer" in printed(result_of({"layers": True}))
    assert "no time per layer" not in printed(result_of({"layers": False}))


def test_the_histogram_has_all_samples_and_marks_outliers() -> None:
    text = printed(result_of(stability=FULL["stability"]))
    assert sum(bars(text, r"^\s*\d\.\d+ \.\. \d\.\d+ +\d")) > 0
    assert re.search(r"above 1\.60+: outliers +3 ", text)


def test_a_terminal_without_blocks_gets_hashes() -> None:
    text = printed(result_of({"layers": True}, **FULL), encoding="ascii")
    assert re.search(r"blocks\.0\.ssm .* #{30} ", text)


@pytest.mark.parametrize(
    ("taken", "fence_ms", "logarithmic", "outliers"),
    [
        (samples(), 1.6, False, 3),
        (np.geomspace(0.5, 5, 400), None, True, 0),
        (np.array([1.0]), None, False, 0),
        (np.full(50, 0.25), 0.3, False, 0),
        (np.zeros(5), None, False, 0),
        (np.array([2.0, 3.0]), 1.0, False, 0),  # a fence below all
        (np.concatenate([np.full(99, 1.0), [1.5]]), None, False, 0),  # no spread in the middle
    ],
)
def test_bins_count_every_sample_once(
    taken: np.ndarray, fence_ms: float | None, logarithmic: bool, outliers: int
) -> None:
    bins = bins_of(taken, fence_ms)
    assert sum(bins.counts) + bins.outliers == len(taken)
    assert (bins.logarithmic, bins.outliers) == (logarithmic, outliers)
    assert 1 <= len(bins.counts) <= 20
    assert np.all(np.diff(bins.edges_ms) > 0)
    inner = taken[taken <= fence_ms] if outliers and fence_ms is not None else taken
    assert bins.edges_ms[0] == pytest.approx(inner.min())
    assert bins.edges_ms[-1] == pytest.approx(inner.max())


def test_one_far_outlier_does_not_squash_the_bins_of_the_rest() -> None:
    taken = np.append(samples(0), 1000.0)
    assert bins_of(taken, 1.6).edges_ms == bins_of(samples(0)).edges_ms
