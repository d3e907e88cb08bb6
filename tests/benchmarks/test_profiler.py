"""The profiler's benchmark: its streams are what it says, and its peers time the runs we time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import profiler, profiler_peers
from edge_s4op.runtime.feeds import random_feeds
from tests.edge_s4op import tiny


@pytest.mark.parametrize("noise", profiler.NOISES)
def test_a_streams_ratio_is_the_slowdown(noise: str):
    rng = np.random.default_rng(0)
    rounds = [
        pair for _ in range(30) for pair in profiler.rounds_of(rng, profiler.NOISES[noise], slowdown=1.25)
    ]
    logs = [math.log(np.median(a) / np.median(b)) for a, b in rounds]
    assert math.exp(np.mean(logs)) == pytest.approx(1.25, rel=0.02)


@pytest.mark.parametrize("noise", profiler.NOISES)
def test_verdicts_are_those_of_the_slowdown(noise: str):
    assert profiler.comparisons(noise, 1.0, 40, seed=0).count("not resolved") >= 36
    assert profiler.comparisons(noise, 1.1, 40, seed=1).count("slower") >= 36
    assert profiler.comparisons(noise, 1 / 1.1, 40, seed=2).count("faster") >= 36


def test_the_loop_runs_as_often_as_it_says():
    calls: list[None] = []
    assert profiler_peers.loop_median_ms(lambda: calls.append(None), runs=7, warmup=3) >= 0
    assert len(calls) == 10


def test_the_slowed_run_lasts_longer_by_what_was_asked():
    took_ns, ended_ns = profiler_peers.slowed(lambda: None, by_ms=2.0)()
    assert took_ns >= 2e6
    assert ended_ns > 0
    assert profiler_peers.timed(lambda: None)()[0] >= 0


def test_the_profile_has_one_event_for_every_run(tmp_path: Path):
    runner = profiler_peers.ProfiledRunner(tiny.linear_artifact(), tmp_path)
    feeds = random_feeds(runner.manifest, 1, 0)
    for _ in range(5):
        runner.run(feeds)
    took_ms = runner.profile_ms()
    assert len(took_ms) == 5
    assert all(took >= 0 for took in took_ms)


def test_every_run_of_the_profile_is_one_of_our_measurements(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(profiler, "MEASURED_MS", 20.0)
    assert profiler.vs_profile(tiny.linear_artifact(), rounds=2) > 0  # asserts that none is left over
