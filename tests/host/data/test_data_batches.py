"""Batches: every row once, in an order that the generator alone decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_s4op.errors import UsageError
from host.data.batches import batches
from host.data.values import Split


def split_of(n=10, lengths=True):
    x = np.arange(n * 6, dtype=np.float32).reshape(n, 3, 2)
    return Split(x, np.arange(n), np.arange(n) % 3 + 1 if lengths else None)


def labels(split, *args, **kwargs):
    return [batch.y.tolist() for batch in batches(split, *args, device="cpu", **kwargs)]


def test_without_a_generator_rows_come_in_order():
    assert labels(split_of(), 4, generator=None) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_drop_last_leaves_out_the_short_batch():
    assert labels(split_of(), 4, generator=None, drop_last=True) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert labels(split_of(8), 4, generator=None, drop_last=True) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_generator_shuffles_reproducibly_and_every_row_comes_once():
    first, again, other = (
        [y for ys in labels(split_of(50), 8, generator=torch.Generator().manual_seed(seed)) for y in ys]
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert sorted(first) == list(range(50)) != first


def test_the_generators_state_moves_on_from_epoch_to_epoch():
    generator = torch.Generator().manual_seed(0)
    first = labels(split_of(50), 50, generator=generator)
    state = generator.get_state()
    second = labels(split_of(50), 50, generator=generator)
    resumed = labels(split_of(50), 50, generator=torch.Generator().set_state(state))
    assert first != second == resumed


def test_x_y_and_lengths_stay_together_with_their_dtypes():
    split = split_of()
    for x, y, lengths in batches(split, 3, generator=torch.Generator().manual_seed(4), device="cpu"):
        assert (x.dtype, y.dtype, lengths.dtype) == (torch.float32, torch.int64, torch.int64)
        np.testing.assert_array_equal(x.numpy(), split.x[y.numpy()])
        np.testing.assert_array_equal(lengths.numpy(), split.lengths[y.numpy()])


def test_unpadded_splits_have_no_lengths():
    assert next(batches(split_of(lengths=False), 3, generator=None, device="cpu")).lengths is None


def test_changing_a_batch_does_not_change_the_split():
    split = split_of()
    next(batches(split, 3, generator=None, device="cpu")).x.zero_()
    assert split.x[0, 0, 1] == 1


def test_a_batch_size_below_one_is_refused_at_once():
    with pytest.raises(UsageError, match="batch size is too small; expected at least 1; found 0"):
        batches(split_of(), 0, generator=None, device="cpu")
