"""List operations: the grammar, the values against an independent evaluator, seeds, distinct rows."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest

from edge_s4op.errors import UsageError
from host.data.dataset import load_dataset
from host.data.listops_trees import TOKENS, Grammar, draw_expressions

SMALL = "max_depth=5,max_length=60,min_length=4,n_train=300,n_validation=50,n_test=50"


def words_of(row, length):
    return [TOKENS[token] for token in row[:length]]


def parse(words):
    """Recursive descent over an expression without parentheses: (value, depth, argument counts)."""
    position = 0

    def expression():
        nonlocal position
        word = words[position]
        position += 1
        if word.isdigit():
            return int(word), 1, []
        values, deepest, counts = [], 0, []
        while words[position] != "]":
            value, depth, below = expression()
            values.append(value)
            deepest, counts = max(deepest, depth), counts + below
        position += 1
        return OPERATIONS[word](values), deepest + 1, [len(values), *counts]

    result = expression()
    assert position == len(words)
    return result


OPERATIONS = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda values: int(statistics.median(values)),
    "[SM": lambda values: sum(values) % 10,
}


def pairs_removed(words):
    """Check that the parentheses are those of ((([OP a) b) ]) and return the words without them."""
    position = 0

    def pair():
        nonlocal position
        word = words[position]
        position += 1
        if word != "(":
            return [word]
        left, right = pair(), pair()
        assert words[position] == ")"
        position += 1
        return left + right

    result = pair()
    assert position == len(words)
    return result


def test_the_evaluator_of_these_tests_knows_the_published_example():
    example = "[MAX 4 3 [MIN 2 3 ] 1 0 [MED 1 5 8 9 2 ] ]"
    assert parse(example.split()) == (5, 3, [6, 2, 5])


@pytest.fixture(scope="module")
def small():
    return load_dataset(f"listops:{SMALL}")


def test_shapes_vocabulary_and_classes(small):
    assert small.train.x.shape == (300, 60)
    assert (len(small.train), len(small.validation), len(small.test)) == (300, 50, 50)
    assert small.train.x.dtype == np.int64
    assert (small.vocab_size, small.num_classes, small.d_input, small.seq_len) == (18, 10, None, 60)
    assert small.class_labels == tuple("0123456789")
    assert small.padded
    assert small.preprocessing.mean == ()


def test_labels_are_what_an_independent_evaluator_finds(small):
    for split in (small.train, small.validation, small.test):
        for row, length, label in zip(split.x, split.lengths, split.y, strict=True):
            value, depth, counts = parse(words_of(row, length))
            assert value == label
            assert 2 <= depth <= 5
            assert min(counts) >= 2
            assert max(counts) <= 10
            assert not row[length:].any()
            assert 4 < length < 60


def test_labels_of_the_published_setting_are_right_too():
    data = load_dataset("listops:n_train=20,n_validation=5,n_test=5")
    assert data.seq_len == 2000
    for row, length, label in zip(data.train.x, data.train.lengths, data.train.y, strict=True):
        assert 500 < length < 2000
        value, depth, _ = parse(words_of(row, length))
        assert value == label
        assert depth <= 10


def test_parentheses_are_the_published_pairs_around_the_same_expressions(small):
    paired = load_dataset(f"listops:{SMALL},parentheses=1")
    assert paired.seq_len == 3 * 59 - 2
    np.testing.assert_array_equal(paired.train.lengths, 3 * small.train.lengths - 2)
    np.testing.assert_array_equal(paired.train.y, small.train.y)
    for i in range(len(paired.train)):
        words = words_of(paired.train.x[i], paired.train.lengths[i])
        assert pairs_removed(words) == words_of(small.train.x[i], small.train.lengths[i])


def test_parentheses_of_the_published_lengths_reach_5995():
    data = load_dataset("listops:parentheses=1,n_train=2,n_validation=1,n_test=1")
    assert data.train.x.shape == (2, 5995)


def test_no_expression_comes_twice(small):
    rows = np.concatenate([small.train.x, small.validation.x, small.test.x])
    assert len(np.unique(rows, axis=0)) == 400


def test_all_expressions_of_a_small_language_are_found_once():
    data = load_dataset("listops:max_depth=2,max_args=2,max_length=5,n_train=390,n_validation=5,n_test=5")
    rows = np.concatenate([data.train.x, data.validation.x, data.test.x])
    assert len(np.unique(rows, axis=0)) == 4 * 10 * 10


def test_the_data_seed_makes_the_data(small):
    again, other = load_dataset(f"listops:{SMALL}"), load_dataset(f"listops:{SMALL},seed=1")
    np.testing.assert_array_equal(small.train.x, again.train.x)
    assert not np.array_equal(small.train.x, other.train.x)


def test_the_run_seed_and_the_number_of_rows_leave_the_test_split_alone(small):
    for other in (
        load_dataset(f"listops:{SMALL}", seed=9),
        load_dataset("listops:" + SMALL.replace("300", "7")),
    ):
        np.testing.assert_array_equal(small.test.x, other.test.x)
        np.testing.assert_array_equal(small.test.y, other.test.y)
        np.testing.assert_array_equal(small.validation.x, other.validation.x)


def test_min_length_follows_max_length():
    data = load_dataset("listops:max_length=100,n_train=200,n_validation=1,n_test=1")
    assert data.train.lengths.min() > 25


def test_symbols_are_drawn_as_published():
    """Operators and digits uniform; below the root an argument is an operator one time in four."""
    rng = np.random.default_rng(0)
    counts, below_root = np.zeros(len(TOKENS), dtype=int), []
    for _ in range(3):
        for tokens, _ in draw_expressions(rng, Grammar(3, 10, 1, 10_000, False))[1]:
            counts += np.bincount(tokens, minlength=len(TOKENS))
            level = np.cumsum((tokens >= 13) & (tokens < 17)) - np.cumsum(tokens == 17)
            below_root += ((tokens >= 13) & (tokens < 17))[1:][level[:-1] == 1].tolist()
            below_root = below_root[:-1] if tokens[-1] == 17 else below_root
    assert abs(np.mean(below_root) - 0.25) < 0.03
    for group in (counts[3:13], counts[13:17]):
        assert np.abs(group / group.sum() - 1 / len(group)).max() < 0.02
    assert counts[13:17].sum() == counts[17]


def length_drawn_recursively(rng, depth, max_depth, max_args):
    """Length of one tree drawn as the grammar is told: a node at a time."""
    if depth == max_depth or (depth > 1 and rng.random() >= 0.25):
        return 1
    arguments = int(rng.integers(2, max_args + 1))
    return 2 + sum(length_drawn_recursively(rng, depth + 1, max_depth, max_args) for _ in range(arguments))


def test_lengths_are_distributed_as_those_of_trees_drawn_node_by_node():
    rng = np.random.default_rng(0)
    one_by_one = [length_drawn_recursively(rng, 1, 5, 8) for _ in range(6000)]
    one_by_one = np.array([length for length in one_by_one if 10 < length < 120])
    together = np.array(
        [len(words) for _ in range(6) for words, _ in draw_expressions(rng, Grammar(5, 8, 10, 120, False))[1]]
    )
    assert abs(len(together) / 6144 - len(one_by_one) / 6000) < 0.03
    bins = [np.quantile(one_by_one, share) for share in np.linspace(0.1, 0.9, 9)]
    for edge in bins:
        assert abs((together <= edge).mean() - (one_by_one <= edge).mean()) < 0.04


def test_limits_that_cannot_be_met_are_an_error_and_not_a_hang():
    with pytest.raises(
        UsageError, match=r"no new expression.*expected 500 different.*found 400 with max_depth=2"
    ):
        load_dataset("listops:max_depth=2,max_args=2,max_length=10,n_train=480,n_validation=10,n_test=10")


def test_deep_and_wide_limits_do_not_explode():
    data = load_dataset("listops:max_depth=100,max_args=12,max_length=300,n_train=5,n_validation=1,n_test=1")
    for row, length, label in zip(data.train.x, data.train.lengths, data.train.y, strict=True):
        assert parse(words_of(row, length))[0] == label


def test_generation_is_fast():
    started = time.perf_counter()
    load_dataset("listops:n_train=500,n_validation=50,n_test=50")
    assert time.perf_counter() - started < 5  # 0.4 s on one core; a tree at a time takes minutes for all
