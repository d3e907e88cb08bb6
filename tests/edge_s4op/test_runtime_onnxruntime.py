"""The ONNX Runtime backend computes what the file says, refuses what the manifest does not allow."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edge_s4op.errors import (
    BadInferenceInputError,
    CorruptArtifactError,
    InferenceError,
    UnknownNameError,
    UsageError,
)
from edge_s4op.runtime import BACKENDS, RunnerOptions, available_backends, open_runner
from tests.edge_s4op import tiny


def floats(batch: int = 1, seed: int = 0) -> np.ndarray:
    shape = (batch, tiny.SEQ_LEN, tiny.CHANNELS)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def tokens(batch: int = 1) -> dict[str, np.ndarray]:
    ids = np.arange(batch * tiny.SEQ_LEN, dtype=np.int64).reshape(batch, -1) % tiny.VOCAB
    return {"input": ids, "lengths": np.full(batch, tiny.SEQ_LEN, dtype=np.int64)}


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_float_model_computes_its_graph(batch: int, threads: int) -> None:
    runner = open_runner(tiny.linear_artifact(), threads=threads)
    x = floats(batch)  # (B, L, C)
    outputs = runner.run({"input": x})
    assert list(outputs) == ["logits"]
    np.testing.assert_allclose(outputs["logits"], (x @ tiny.WEIGHT).sum(1), rtol=1e-5, atol=1e-6)


def test_a_token_model_with_lengths_computes_its_graph() -> None:
    feeds = tokens(3)
    logits = open_runner(tiny.token_artifact()).run(feeds)["logits"]
    np.testing.assert_allclose(logits, tiny.TABLE[feeds["input"]].sum(1) / tiny.SEQ_LEN, rtol=1e-6)


def test_inputs_need_not_be_contiguous() -> None:
    x = np.asfortranarray(floats(4))[::2]
    logits = open_runner(tiny.linear_artifact()).run({"input": x})["logits"]
    np.testing.assert_allclose(logits, (x @ tiny.WEIGHT).sum(1), rtol=1e-5, atol=1e-6)


def test_a_runner_says_what_it_is() -> None:
    artifact = tiny.linear_artifact()
    runner = open_runner(artifact, "onnxruntime", threads=1)
    assert runner.backend == "onnxruntime"
    assert runner.backend_version == available_backends()["onnxruntime"]
    assert runner.manifest == artifact.manifest


def test_every_decision_about_threads_is_written_into_the_session() -> None:
    runner = open_runner(tiny.linear_artifact(), threads=2)
    session = runner._session  # type: ignore[attr-defined]
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert str(options.execution_mode).endswith("ORT_SEQUENTIAL")
    assert options.log_severity_level == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    assert options.get_session_config_entry("session.force_spinning_stop") == "0"
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_threads_may_share_a_runner() -> None:
    runner = open_runner(tiny.linear_artifact(), threads=2)

    def ask(seed: int) -> bool:
        x = floats(1 + seed % 3, seed)
        return np.allclose(runner.run({"input": x})["logits"], (x @ tiny.WEIGHT).sum(1), 1e-5, 1e-5)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(400)))


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "input 'input' is missing"),
        ({"inputs": floats()}, "unknown input 'inputs'.*found inputs.*did you mean input"),
        ({"input": floats(), "lengths": np.ones(1, np.int64)}, "unknown input 'lengths'"),
        ({"input": floats().astype(np.float64)}, r"datatype.*expected FP32 \(float32\); found float64"),
        ({"input": floats().astype(">f4")}, r"datatype.*expected FP32.*found >f4"),
        ({"input": floats().tolist()}, "datatype.*found list"),
        ({"input": floats()[0]}, r"shape.*expected \[-1, 4, 3\].*found \[4, 3\]"),
        ({"input": floats()[:, :3]}, r"shape.*found \[1, 3, 3\]"),
        ({"input": floats(0)}, r"shape.*batch of 1 or more.*found \[0, 4, 3\]"),
    ],
)
def test_feeds_the_manifest_does_not_allow_are_refused(feeds: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BadInferenceInputError, match=message):
        open_runner(tiny.linear_artifact()).run(feeds)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("input", tiny.VOCAB, "token out of range; expected 0 to 4; found 5"),
        ("input", -1, "token out of range; expected 0 to 4; found -1"),
        ("lengths", 0, "length out of range; expected 1 to 4; found 0"),
        ("lengths", tiny.SEQ_LEN + 1, "length out of range; expected 1 to 4; found 5"),
    ],
)
def test_tokens_and_lengths_out_of_range_are_refused(name: str, value: int, message: str) -> None:
    feeds = tokens(2)
    feeds[name].flat[1] = value
    with pytest.raises(BadInferenceInputError, match=message):
        open_runner(tiny.token_artifact()).run(feeds)


def test_inputs_of_different_batches_are_refused() -> None:
    feeds = tokens(2) | {"lengths": tokens(3)["lengths"]}
    with pytest.raises(BadInferenceInputError, match=r"different batch sizes.*input: 2, lengths: 3"):
        open_runner(tiny.token_artifact()).run(feeds)


def test_a_file_onnxruntime_refuses_is_a_one_line_error_with_its_reason() -> None:
    with pytest.raises(CorruptArtifactError, match=r"ONNX Runtime .* refuses it: .*Nowhere") as caught:
        open_runner(tiny.refused_artifact())
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_model_are_refused() -> None:
    broken = dataclasses.replace(tiny.linear_artifact(), content=b"not a model")
    with pytest.raises(CorruptArtifactError, match="refuses it"):
        open_runner(broken)


def test_a_run_that_fails_inside_onnxruntime_is_a_typed_error() -> None:
    with pytest.raises(InferenceError, match=r"ONNX Runtime .* failed: .*Reshape") as caught:
        open_runner(tiny.failing_artifact()).run({"input": floats()})
    assert not isinstance(caught.value, BadInferenceInputError)
    assert "\n" not in str(caught.value)


def test_a_closed_runner_says_so() -> None:
    runner = open_runner(tiny.linear_artifact())
    runner.close()
    runner.close()
    with pytest.raises(InferenceError, match="closed"):
        runner.run({"input": floats()})


def test_unknown_backends_are_refused_with_near_names() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown backend 'onnxruntim'.*did you mean onnxruntime\?"):
        open_runner(tiny.linear_artifact(), "onnxruntim")


def test_no_threads_are_refused() -> None:
    with pytest.raises(UsageError, match="threads >= 1; found threads = 0"):
        open_runner(tiny.linear_artifact(), threads=0)


def test_available_backends_are_registered_ones() -> None:
    assert set(available_backends()) <= set(BACKENDS)


def test_a_cuda_graph_is_refused() -> None:
    with pytest.raises(UsageError, match="no CUDA graph"):
        open_runner(tiny.linear_artifact(), options=RunnerOptions(cuda_graph=True))


@pytest.mark.parametrize("spin_wait", [None, True, False])
def test_however_threads_wait_the_outputs_are_the_same(spin_wait: bool | None) -> None:
    runner = open_runner(tiny.linear_artifact(), options=RunnerOptions(threads=2, spin_wait=spin_wait))
    x = floats(2)
    outputs = runner.run({"input": x})
    np.testing.assert_allclose(outputs["logits"], (x @ tiny.WEIGHT).sum(1), rtol=1e-5, atol=1e-6)
