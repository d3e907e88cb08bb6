"""Random input follows the manifest and its seed."""

from __future__ import annotations

import numpy as np
import pytest

from edge_s4op.artifact import TensorInfo
from edge_s4op.errors import BadInferenceInputError, UnknownNameError
from edge_s4op.runtime.feeds import check_feeds, numpy_dtype, random_feeds
from tests.edge_s4op import tiny

HALF = TensorInfo(name="half", datatype="FP16", shape=(-1, 2))
EVERY_KIND = tiny.manifest(
    tiny.TOKENS, HALF, tiny.LENGTHS, TensorInfo(name="x", datatype="FP32", shape=(-1, 3))
)


@pytest.mark.parametrize("batch", [1, 64])
def test_random_feeds_are_what_the_manifest_allows(batch: int) -> None:
    feeds = random_feeds(EVERY_KIND, batch)
    check_feeds(EVERY_KIND, feeds)
    assert [feeds[name].dtype.name for name in ("input", "half", "lengths", "x")] == [
        "int64",
        "float16",
        "int64",
        "float32",
    ]
    assert (feeds["lengths"] == tiny.SEQ_LEN).all()
    assert all(feed.shape[0] == batch for feed in feeds.values())


@pytest.mark.parametrize("value", [7e4, -7e4, np.inf])
def test_a_value_that_fp16_cannot_hold_is_refused_by_models_in_fp16_alone(value: float) -> None:
    feeds = {"input": np.full((1, tiny.SEQ_LEN, tiny.CHANNELS), 65504, np.float32)}
    single = tiny.manifest(tiny.FLOATS)
    half = single.model_copy(update={"precision": "fp16"})
    check_feeds(half, feeds)
    feeds["input"][0, 2, 1] = value
    check_feeds(single, feeds)
    with pytest.raises(BadInferenceInputError, match=r"value out of range; expected -65504\.0 to 65504\.0"):
        check_feeds(half, feeds)


def test_random_feeds_cover_the_vocabulary_and_are_standard_normal() -> None:
    feeds = random_feeds(EVERY_KIND, 2000)
    assert set(np.unique(feeds["input"])) == set(range(tiny.VOCAB))
    for name in ("x", "half"):
        assert abs(float(feeds[name].astype(np.float64).mean())) < 0.1
        assert abs(float(feeds[name].astype(np.float64).std()) - 1) < 0.05


def test_random_feeds_depend_on_the_seed_alone() -> None:
    first, again, other = (random_feeds(EVERY_KIND, 3, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["x"], other["x"])


def test_tokens_without_a_vocabulary_cannot_be_drawn() -> None:
    tokens = TensorInfo(name="input", datatype="INT64", shape=(-1, 4))
    with pytest.raises(BadInferenceInputError, match="vocab_size"):
        random_feeds(tiny.manifest(tokens), 1)


def test_unknown_datatypes_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="FP32"):
        numpy_dtype("FP8")
