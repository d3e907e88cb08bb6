"""Compression and classification of /v2 by themselves: memory that stays bounded, order that is defined."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest

from device_agent.errors import RequestError
from device_agent.v2.classification import bytes_tensor, top_classes
from device_agent.v2.compression import decompressed


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    bomb = gzip.compress(bytes(100 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(RequestError, match="larger than the 1000 bytes allowed here, once decompressed"):
            decompressed(bomb, "gzip", 1000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
def test_of_equal_values_the_lower_index_comes_first(dtype: type) -> None:
    values = np.tile(np.array([1, 0, 1, 0], dtype=dtype), (2, 100))
    shape, texts = top_classes(values, 200, [])
    assert shape == [2, 200]
    assert [int(text.split(":")[1]) for text in texts[:200]] == list(range(0, 400, 2))


def test_nan_comes_last() -> None:
    values = np.array([[np.nan, 1, -np.inf, np.inf]], dtype=np.float32)
    assert top_classes(values, 4, ["a"])[1] == ["inf:3", "1.000000:1", "-inf:2", "nan:0:a"]


def test_too_many_values_are_refused() -> None:
    with pytest.raises(
        RequestError, match="too large for classification; expected 1000000 values; found 1000001"
    ):
        top_classes(np.zeros((1, 1_000_001), dtype=np.float32), 1, [])


def test_lengths_of_texts_are_of_their_bytes() -> None:
    assert bytes_tensor(["a", "", "\N{LATIN SMALL LETTER E WITH ACUTE}"]) == (
        b"\1\0\0\0a" + b"\0\0\0\0" + b"\2\0\0\0\xc3\xa9"
    )
