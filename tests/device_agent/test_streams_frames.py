"""Frames of one-channel streams, and answers that JSON cannot carry."""

from __future__ import annotations

import json

import numpy as np
import pytest

from device_agent.stream_frames import answer_of, frame_of
from edge_s4op.artifact import TensorInfo
from edge_s4op.errors import BadInferenceInputError, InferenceError

ONE_CHANNEL = TensorInfo(name="input", datatype="FP32", shape=(-1, -1, 1))


@pytest.mark.parametrize(
    "message",
    ['{"samples": [0.5, 1, 2]}', '{"samples": [[0.5], [1], [2]]}', np.array([0.5, 1, 2], "<f4").tobytes()],
)
def test_samples_of_one_channel_may_be_plain_numbers(message: str | bytes) -> None:
    found = frame_of(message, ONE_CHANNEL).samples
    assert found is not None
    assert (found.dtype, found.tolist()) == (np.float32, [[0.5], [1], [2]])


@pytest.mark.parametrize("data", ["[0.5, [1]]", "[[0.5], 1]", "[[0.5, 1]]"])
def test_plain_numbers_and_lists_do_not_mix(data: str) -> None:
    with pytest.raises(BadInferenceInputError):
        frame_of(f'{{"samples": {data}}}', ONE_CHANNEL)


def test_an_answer_names_the_label_where_there_is_one() -> None:
    answer = answer_of(4, np.array([0, 1, 0.5], np.float32), ("a", "b"), binary=False)
    expected = {"samples": 4, "outputs": {"logits": [0, 1, 0.5]}, "prediction": "b"}
    assert json.loads(answer) == expected
    last = answer_of(4, np.array([0, 1, 2], np.float32), ("a", "b"), binary=False, end=True)
    assert (json.loads(last)["prediction"], json.loads(last)["end"]) == (2, True)


def test_logits_that_are_no_numbers_are_the_models_fault() -> None:
    nan = np.array([np.nan, 1], np.float32)
    with pytest.raises(InferenceError, match="format=binary"):
        answer_of(1, nan, (), binary=False)
    assert isinstance(answer_of(1, nan, (), binary=True), bytes)
