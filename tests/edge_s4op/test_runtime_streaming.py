"""Streams: a state is a value, what is wrong never reaches it, and a file says truly what it carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from edge_s4op.artifact import Artifact, Manifest, Preprocessing, StateInfo, artifact_from_bytes
from edge_s4op.errors import BadInferenceInputError, CorruptArtifactError, InferenceError, UsageError
from edge_s4op.runtime import Array, Runner, open_runner
from edge_s4op.runtime.feeds import random_feeds
from edge_s4op.runtime.streaming import StreamModel, open_stream_model
from tests.edge_s4op import tiny
from tests.edge_s4op.stream_samples import (
    CHANNELS,
    CLASSES,
    FLOATS,
    TABLE,
    TOKENS,
    TOTAL,
    VOCAB,
    WEIGHT,
    stream_artifact,
    stream_manifest,
)


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    runner = open_runner(stream_artifact(stream_manifest(FLOATS)))
    yield runner
    runner.close()


@pytest.fixture
def stream(runner: Runner) -> StreamModel:
    return open_stream_model(runner)


def samples(count: int, batch: int = 1, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((batch, count, CHANNELS), np.float32)


@pytest.mark.parametrize("parts", [[6], [1, 5], [2, 2, 2], [1] * 6])
def test_a_stream_remembers_what_was_pushed(stream: StreamModel, parts: list[int]) -> None:
    x = samples(6, batch=2)
    state = stream.new_state(2)
    for part in np.split(x, np.cumsum(parts)[:-1], axis=1):
        logits, state = stream.push(state, part)
    np.testing.assert_allclose(logits, (x @ WEIGHT).sum(1), rtol=1e-5, atol=1e-5)
    assert (state.samples, state.batch) == (6, 2)


def test_tokens_are_pushed_as_they_are() -> None:
    runner = open_runner(stream_artifact(stream_manifest(TOKENS)))
    stream = open_stream_model(runner)
    state = stream.new_state()
    tokens = np.array([[1, 4, 0]])
    for token in tokens.T[..., None]:
        logits, state = stream.push(state, token)
    np.testing.assert_array_equal(logits, TABLE[tokens].sum(1))
    with pytest.raises(BadInferenceInputError, match=f"a token is out of range; expected 0 to {VOCAB - 1}"):
        stream.push(state, np.array([[VOCAB]]))
    with pytest.raises(BadInferenceInputError, match="a token is out of range"):
        stream.push(state, np.array([[-1]]))
    assert stream.normalised(tokens) is tokens
    runner.close()


def test_a_state_is_a_value(stream: StreamModel) -> None:
    first, second = samples(1, seed=1), samples(1, seed=2)
    start = stream.new_state()
    _, once = stream.push(start, first)
    before = once.arrays[0].copy()
    forked = [stream.push(once, x)[0] for x in (second, first, second)]
    np.testing.assert_array_equal(forked[0], forked[2])
    assert not np.array_equal(forked[0], forked[1])
    np.testing.assert_array_equal(once.arrays[0], before)
    assert not start.arrays[0].any()
    with pytest.raises(ValueError, match="read-only"):
        once.arrays[0][0] = 1


def test_pushing_to_many_streams_is_pushing_to_each(stream: StreamModel) -> None:
    ahead = [stream.push(stream.new_state(), samples(n, seed=n))[1] for n in (1, 2, 3)]
    x = samples(2, batch=3)
    logits, after = stream.push_many(ahead, x)
    assert [state.samples for state in after] == [3, 4, 5]
    for index, (state, row) in enumerate(zip(ahead, after, strict=True)):
        alone, own = stream.push(state, x[index : index + 1])
        np.testing.assert_allclose(logits[index], alone[0], rtol=1e-6)
        np.testing.assert_allclose(row.arrays[0], own.arrays[0], rtol=1e-6)
        assert row.arrays[0].base is None  # it does not hold its neighbours in memory
    with pytest.raises(BadInferenceInputError, match=r"one stream each; found states of \[2\] streams"):
        stream.push_many([stream.new_state(2)], x[:1])
    with pytest.raises(BadInferenceInputError, match="one or more states"):
        stream.push_many([], x)
    with pytest.raises(BadInferenceInputError, match="expected samples of 2 stream"):
        stream.push_many(ahead[:2], x)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((1, 0, CHANNELS), np.float32), r"one or more of each; found \(1, 0, 3\)"),
        (np.zeros((0, 1, CHANNELS), np.float32), r"found \(0, 1, 3\)"),
        (np.zeros((1, CHANNELS), np.float32), r"expected \(streams, samples, 3\)"),
        (np.zeros((1, 1, CHANNELS + 1), np.float32), r"found \(1, 1, 4\)"),
        (np.zeros((1, 1, CHANNELS)), r"datatype; expected FP32 \(float32\); found float64"),
        ([[[0.0] * CHANNELS]], "found list"),
        (np.full((1, 1, CHANNELS), np.nan, np.float32), "not finite.* found 3 of 3"),
        (np.full((1, 1, CHANNELS), -np.inf, np.float32), "not finite"),
        (np.zeros((2, 1, CHANNELS), np.float32), "expected samples of 1 stream.*; found 2"),
    ],
)
def test_bad_samples_are_refused_and_the_stream_goes_on(
    stream: StreamModel, bad: Array, message: str
) -> None:
    _, state = stream.push(stream.new_state(), samples(1))
    with pytest.raises(BadInferenceInputError, match=message):
        stream.push(state, bad)
    logits, _ = stream.push(state, np.zeros((1, 1, CHANNELS), np.float32))
    np.testing.assert_allclose(logits, state.arrays[0])


def test_a_state_of_another_model_is_refused(stream: StreamModel) -> None:
    runner = open_runner(stream_artifact(stream_manifest(FLOATS, window=4)))
    other = open_stream_model(runner).new_state()
    with pytest.raises(BadInferenceInputError, match=r"another model's.* all samples; found .* the last 4"):
        stream.push(other, samples(1))
    runner.close()


def test_a_state_outlives_the_model_it_was_made_by(stream: StreamModel) -> None:
    runner = open_runner(stream_artifact(stream_manifest(FLOATS)))
    x = samples(1)
    _, state = open_stream_model(runner).push(stream.new_state(), x)
    runner.close()
    np.testing.assert_allclose(stream.push(state, x)[0], 2 * (x @ WEIGHT)[:, 0], rtol=1e-6)


class FailingRunner:
    """A runner whose device goes away at the second run."""

    backend, backend_version = "failing", "0"

    def __init__(self, manifest: Manifest) -> None:
        self.manifest, self.runs = manifest, 0

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Array]:
        self.runs += 1
        if self.runs == 2:
            raise InferenceError("the device went away")
        total = feeds["total"] + (feeds["input"] @ WEIGHT).sum(1)
        return {"logits": total, "next_total": total}

    def close(self) -> None:
        """Nothing is held."""


def test_a_failed_push_leaves_the_state_as_it_was() -> None:
    stream = open_stream_model(FailingRunner(stream_manifest(FLOATS)))
    x = samples(1)
    _, state = stream.push(stream.new_state(), x)
    with pytest.raises(InferenceError, match="went away"):
        stream.push(state, x)
    np.testing.assert_allclose(stream.push(state, x)[0], 2 * (x @ WEIGHT)[:, 0], rtol=1e-6)


def test_bytes_are_what_the_arrays_take(stream: StreamModel) -> None:
    for batch in (1, 3):
        assert stream.new_state(batch).nbytes == stream.state_bytes(batch) == batch * CLASSES * 4
    with pytest.raises(UsageError, match="batch >= 1; found 0"):
        stream.new_state(0)


def test_samples_are_normalised_one_by_one() -> None:
    preprocessing = Preprocessing(mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 0.5))
    manifest = stream_manifest(FLOATS).model_copy(update={"preprocessing": preprocessing})
    stream = open_stream_model(FailingRunner(manifest))
    raw = np.array([[[1, 2, 3], [3, 6, 4]]])
    normal = stream.normalised(raw)
    np.testing.assert_array_equal(normal, np.array([[[0, 0, 0], [1, 1, 2]]], np.float32))
    assert normal.dtype == np.float32


def test_a_file_of_whole_sequences_is_no_stream() -> None:
    runner = open_runner(tiny.linear_artifact())
    with pytest.raises(UsageError, match=r"takes whole sequences.*s4op export --streaming"):
        open_stream_model(runner)
    runner.close()


def test_measuring_a_stream_is_measuring_one_sample(runner: Runner) -> None:
    feeds = random_feeds(runner.manifest, 3)
    assert {name: feed.shape for name, feed in feeds.items()} == {
        "input": (3, 1, CHANNELS),
        "total": (3, CLASSES),
    }
    assert not feeds["total"].any()
    assert feeds["input"].any()
    assert runner.run(feeds)["logits"].shape == (3, CLASSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name_in": "totals"}, "no such input; expected input 'totals': FP32 .*; found none"),
        ({"name_out": "later"}, "no such output; expected output 'later'.*; found none"),
        ({"shape": (-1, CLASSES + 1)}, r"expected input 'total': FP32 \[-1, 3\]; found FP32 \[-1, 2\]"),
        ({"datatype": "INT64"}, "expected input 'total': INT64"),
    ],
)
def test_states_that_the_graph_has_not_are_refused(change: dict[str, object], message: str) -> None:
    state = StateInfo.model_validate(TOTAL.model_dump() | change)
    with pytest.raises(CorruptArtifactError, match=message):
        stream_artifact(stream_manifest(FLOATS, (state,)))


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ('"pooling":"running"', '"pooling":"sliding"'),
        ('"ssm_form":"diagonal"', '"ssm_form":"diagonul"'),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(text: str, changed: str) -> None:
    content = stream_artifact(stream_manifest(FLOATS)).content
    assert text.encode() in content
    with pytest.raises(CorruptArtifactError, match="the manifest is not valid at streaming"):
        artifact_from_bytes(content.replace(text.encode(), changed.encode()), "here")


def test_files_of_whole_sequences_say_nothing_of_streaming() -> None:
    """Versions that know no streaming refuse fields they do not know."""
    artifact: Artifact = tiny.linear_artifact()
    assert artifact.manifest.streaming is None
    assert b"streaming" not in artifact.content
