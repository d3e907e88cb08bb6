"""Which batch sizes are replayed as CUDA graphs, how many graphs are kept, and what a failed capture does."""

from __future__ import annotations

import ctypes
import gc
import logging
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from edge_s4op.errors import InferenceError
from edge_s4op.runtime.tensorrt.cuda_graphs import GRAPH_LIMIT
from edge_s4op.runtime.tensorrt.runner import TensorRTRunner
from tests.edge_s4op.tensorrt.fake_runner import floats, linear, open_fake

pytestmark = [pytest.mark.usefixtures("trt"), pytest.mark.usefixtures("no_leaks")]


def replayed(runner: TensorRTRunner, batches: Iterable[int]) -> list[bool]:
    """Run one batch of each size, whose outputs must be right; whether each was a graph's."""
    found = []
    for batch in batches:
        feeds = floats(batch)
        np.testing.assert_allclose(runner.run(feeds)["logits"], linear(feeds)["logits"], rtol=1e-5, atol=1e-6)
        found.append(runner.engine_info().cuda_graph)
    return found


def test_a_size_that_came_twice_is_replayed_from_then_on(driver: Path):
    runner, engine = open_fake(driver)
    assert replayed(runner, [1, 1, 1, 1]) == [False, False, True, True]
    assert replayed(runner, [4, 2, 4, 4, 3]) == [False, False, False, True, False]
    assert engine.captured == [1, 4]
    runner.close()


def test_graphs_of_several_sizes_stay_valid_side_by_side(driver: Path):
    runner, engine = open_fake(driver)
    replayed(runner, [1, 1, 2, 2, 3, 3, 4, 4])
    assert engine.captured == [1, 2, 3, 4]
    assert all(replayed(runner, [4, 1, 3, 2, 2, 1, 4]))
    assert engine.captured == [1, 2, 3, 4]
    runner.close()


def test_a_graph_replays_the_rows_of_its_own_run(driver: Path):
    runner, _ = open_fake(driver)
    replayed(runner, [2, 2])
    first, second = floats(2), floats(2)
    assert runner.run(first)["logits"] == pytest.approx(linear(first)["logits"], rel=1e-5, abs=1e-6)
    assert runner.run(second)["logits"] == pytest.approx(linear(second)["logits"], rel=1e-5, abs=1e-6)
    runner.close()


def test_at_the_limit_the_least_recently_used_graph_goes(driver: Path, no_leaks: ctypes.CDLL):
    runner, engine = open_fake(driver, max_batch=GRAPH_LIMIT + 1)
    replayed(runner, [size for size in range(1, GRAPH_LIMIT + 1) for _ in range(2)])
    assert all(replayed(runner, range(1, GRAPH_LIMIT + 1)))
    alive, contexts = no_leaks.aliveObjects(), len(engine.contexts)
    assert replayed(runner, [1]) == [True]  # now 2 is the least recently used one
    assert replayed(runner, [GRAPH_LIMIT + 1] * 3) == [False, False, True]
    gc.collect()
    assert (no_leaks.aliveObjects(), len(engine.contexts)) == (alive, contexts)
    assert replayed(runner, [1, *range(3, GRAPH_LIMIT + 2)]) == [True] * GRAPH_LIMIT
    assert replayed(runner, [2]) == [False]
    runner.close()


def test_a_size_whose_graph_went_must_come_twice_as_often(driver: Path):
    runner, _ = open_fake(driver, max_batch=GRAPH_LIMIT + 1)
    replayed(runner, [size for size in range(1, GRAPH_LIMIT + 2) for _ in range(2)])  # 1 has gone
    assert replayed(runner, [1] * 5) == [False] * 4 + [True]
    assert replayed(runner, [2] * 5) == [False] * 4 + [True]  # it went for 1
    replayed(runner, [size for size in range(3, GRAPH_LIMIT + 2) for _ in range(4)])  # 1 goes once more
    assert replayed(runner, [1] * 9) == [False] * 8 + [True]
    runner.close()


def test_sizes_that_push_each_other_out_are_captured_less_and_less(driver: Path):
    runner, engine = open_fake(driver, max_batch=GRAPH_LIMIT + 1)
    every_size, rounds = range(1, GRAPH_LIMIT + 2), 64
    for _ in range(rounds):
        replayed(runner, every_size)
    assert len(engine.captured) <= len(every_size) * 6  # 2 + 4 + ... + 64 runs without a graph: six captures
    runner.close()


def test_an_engine_that_cannot_be_captured_runs_without_a_graph_and_says_so_once(
    driver: Path, caplog: pytest.LogCaptureFixture
):
    runner, engine = open_fake(driver, capturable=False)
    with caplog.at_level(logging.WARNING, "edge_s4op.tensorrt"):
        assert not any(replayed(runner, [2, 2, 2, 3, 3, 3]))
    assert engine.runs == 7  # one capture was tried, at the second run of batch 2
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "no CUDA graph for engine aaaaaaaaaaaa"
    ]
    note = runner.engine_info().note or ""
    assert note.startswith("no plugin here; no CUDA graph: TensorRT failed to run the engine")
    assert note.endswith("(at batch 2; no other is tried)")
    runner.close()


def test_after_a_failed_capture_the_graphs_before_it_stay_in_use(driver: Path):
    runner, engine = open_fake(driver)
    replayed(runner, [1, 1])
    engine.capturable = False
    assert replayed(runner, [2, 2, 2, 1]) == [False, False, False, True]
    engine.capturable = True
    assert replayed(runner, [3, 3, 3, 1]) == [False, False, False, True]
    assert engine.captured == [1]
    runner.close()


def test_no_memory_for_another_context_fails_no_run(driver: Path):
    runner, engine = open_fake(driver)
    engine.contexts_left = 1
    assert replayed(runner, [1, 1, 2, 2, 2, 1]) == [False, False, False, False, False, True]
    assert "TensorRT made no execution context" in (runner.engine_info().note or "")
    runner.close()


def test_a_graph_that_was_asked_for_is_made_after_the_first_run(driver: Path):
    runner, engine = open_fake(driver, cuda_graph=True)
    assert replayed(runner, [1, 1, 2, 2]) == [False, True, False, True]
    assert engine.captured == [1, 2]
    runner.close()


def test_a_graph_that_was_asked_for_and_cannot_be_made_is_an_error(driver: Path):
    runner, _ = open_fake(driver, cuda_graph=True, capturable=False)
    for _ in range(2):
        with pytest.raises(InferenceError, match="no CUDA graph can be made"):
            runner.run(floats(1))
    runner.close()


def test_without_graphs_nothing_is_captured(driver: Path):
    runner, engine = open_fake(driver, cuda_graph=False)
    assert not any(replayed(runner, [1] * 5))
    assert (engine.captured, engine.runs) == ([], 5)
    assert runner.engine_info().note == "no plugin here; no CUDA graph: off"
    runner.close()


def test_contexts_share_one_block_of_memory(driver: Path, no_leaks: ctypes.CDLL):
    runner, engine = open_fake(driver)
    no_leaks.setBudget(0)  # nothing more can be allocated
    assert replayed(runner, [1, 1, 1, 2, 2, 2]) == [False, False, True, False, False, True]
    assert len(engine.contexts) == 3
    runner.close()


def test_closing_lets_go_of_graphs_contexts_and_engine(driver: Path):
    runner, engine = open_fake(driver)
    replayed(runner, [1, 1, 2, 2, 3])
    runner.layers(floats(2))
    runner.close()
    gc.collect()
    assert len(engine.contexts) == 0
    loaded = weakref.ref(engine)
    del engine
    gc.collect()
    assert loaded() is None
    # and `no_leaks` has counted graphs and memory


def test_a_layer_profile_leaves_the_graphs_as_they_were(driver: Path):
    runner, _ = open_fake(driver)
    replayed(runner, [2, 2])
    runner.layers(floats(3))
    assert replayed(runner, [2, 3]) == [True, False]
    runner.close()
