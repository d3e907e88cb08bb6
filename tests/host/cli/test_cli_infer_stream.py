"""`s4op infer --stream`: a sequence's samples over an agent's WebSocket; and models of the other form."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from edge_s4op.artifact import Artifact, write_artifact
from edge_s4op.client_stream import StreamAnswer
from host.cli.infer_inputs import sequence_of_dataset
from host.cli.infer_stream import push_all
from host.cli.main import run
from host.data.dataset import load_dataset
from tests.device_agent.agent_helpers import AgentProcess, agent_process
from tests.device_agent.stream_agents import floats, labelled, samples, sums, tokens
from tests.edge_s4op.stream_samples import TABLE
from tests.host.cli.cli_samples import (
    NO_AGENT,
    Capture,
    fail,
    stderr_on_a_terminal,
    succeed,
    succeed_json,
    wait_until,
)

LONG = 100_000  # samples: at one a push, more than a test waits for


@pytest.fixture(scope="module")
def served(agent: AgentProcess, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The agent's address; it serves streams "numbers", "labelled", "tokens" and the trained "sines"."""
    folder = tmp_path_factory.mktemp("streams")
    made = {"numbers": floats(), "labelled": labelled(), "tokens": tokens()}
    for name, artifact in made.items():
        deploy(artifact, name, agent.url, folder)
    for name, form in (("sines", ["--streaming"]), ("whole-sines", [])):
        path = folder / f"{name}.onnx"
        assert run(["export", str(checkpoint), "--out", str(path), *form]) == 0
        assert run(["deploy", str(path), "--name", name, "--agent", agent.url]) == 0
    return agent.url


def deploy(artifact: Artifact, name: str, url: str, folder: Path) -> None:
    path = folder / f"{name}.onnx"
    write_artifact(artifact, path)
    assert run(["deploy", str(path), "--name", name, "--agent", url]) == 0


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_a_dataset_s_sequence_ends_as_the_whole_sequence_would(
    capsys: Capture, served: str, spec: str
) -> None:
    to = ["--dataset", spec, "--agent", served]
    whole = succeed_json(capsys, "infer", "whole-sines", *to)["classes"]
    data = load_dataset(spec)
    for row in (0, 5):
        said = succeed_json(capsys, "infer", "sines", "--stream", *to, "--row", row, "--push", 5)
        assert said["prediction"] == whole[row]
        assert said["label"] == data.class_labels[data.test.y[row]]
        assert (said["samples"], said["push"], said["pushes"]) == (data.seq_len, 5, 4)
    assert succeed_json(capsys, "infer", "sines", "--stream", *to)["pushes"] == data.seq_len
    train = succeed_json(capsys, "infer", "sines", "--stream", *to, "--split", "train", "--row", 9)
    assert train["label"] == data.class_labels[data.train.y[9]]
    code, line = fail(capsys, "infer", "sines", "--stream", *to, "--row", 8)
    assert (code, "--row: the test split" in line, "expected 0 to 7; found 8" in line) == (2, True, True)


def test_a_file_is_normalised_as_the_model_says(capsys: Capture, served: str, tmp_path: Path) -> None:
    raw = samples(40)
    said = succeed_json(
        capsys, "infer", "labelled", "--stream", "--file", saved(tmp_path / "x.npy", raw), "--agent", served
    )
    expected = sums((raw - np.array([1, 2, 3], np.float32)) / np.float32(2))
    np.testing.assert_allclose(said["logits"], expected, rtol=1e-4, atol=1e-4)
    assert said["prediction"] == ("low", "high")[expected.argmax()]
    assert said["label"] is None


@pytest.mark.parametrize(("push", "pushes"), [(1, 25), (10, 3), (1000, 1)])
def test_pushes_are_as_long_as_asked(
    capsys: Capture, served: str, tmp_path: Path, push: int, pushes: int
) -> None:
    x = samples(25)
    path = saved(tmp_path / "x.npy", x)
    said = succeed_json(
        capsys, "infer", "numbers", "--stream", "--file", path, "--push", push, "--agent", served
    )
    assert (said["samples"], said["pushes"]) == (25, pushes)
    np.testing.assert_allclose(said["logits"], sums(x), rtol=1e-4, atol=1e-4)
    ends = [*range(push, 25, push), 25]
    answers = [int(sums(x[:end]).argmax()) for end in ends]
    expected = [
        {"samples": end, "prediction": answer}
        for index, (end, answer) in enumerate(zip(ends, answers, strict=True))
        if index == 0 or answers[index - 1] != answer
    ]
    assert said["changes"] == expected
    assert 0 < said["push_ms"]["p50"] <= said["push_ms"]["p99"]
    assert 0 < said["samples_per_s"] <= 25e3 * pushes / said["push_ms"]["p50"]


def test_tokens_and_one_sequence_of_several(capsys: Capture, served: str, tmp_path: Path) -> None:
    x = np.array([[0, 1, 2], [4, 4, 3]])
    to = ["--stream", "--file", saved(tmp_path / "x.npy", x), "--agent", served]
    for row in (0, 1):
        said = succeed_json(capsys, "infer", "tokens", *to, "--row", row)
        np.testing.assert_allclose(said["logits"], TABLE[x[row]].sum(0))
    code, line = fail(capsys, "infer", "tokens", *to, "--row", 2)
    assert (code, "x.npy has no such sequence; expected 0 to 1; found 2" in line) == (2, True)


def test_padding_is_not_pushed() -> None:
    spec = "listops:n_train=24,n_validation=8,n_test=8,max_length=40,max_depth=2,min_length=5"
    test = load_dataset(spec).test
    assert test.lengths is not None
    row = int(test.lengths.argmin())
    sequence = sequence_of_dataset(spec, "test", row, tokens().manifest)
    assert len(sequence.x) == test.lengths[row] < test.x.shape[1]
    np.testing.assert_array_equal(sequence.x, test.x[row, : len(sequence.x)])


def test_shapes_of_one_channel(capsys: Capture, served: str, tmp_path: Path, spec: str) -> None:
    """(T,), (T, 1), (n, T) and (n, T, 1) are the same samples."""
    x = np.random.default_rng(0).standard_normal((3, 16)).astype(np.float32)
    said = []
    for index, array in enumerate((x[1], x[1, :, None], x, x[..., None])):
        path = saved(tmp_path / f"{index}.npy", array)
        row = ["--row", 1] if index >= 2 else []
        said.append(
            succeed_json(capsys, "infer", "sines", "--stream", "--file", path, *row, "--agent", served)
        )
    assert len({tuple(answer["logits"]) for answer in said}) == 1
    assert {answer["samples"] for answer in said} == {16}


def test_an_archive_of_arrays(capsys: Capture, served: str, tmp_path: Path) -> None:
    x, path = samples(6), tmp_path / "x.npz"
    to = ["infer", "numbers", "--stream", "--file", path, "--agent", served]
    for arrays in ({"readings": x}, {"x": x, "y": np.zeros(6)}):
        np.savez(path, **arrays)
        np.testing.assert_allclose(succeed_json(capsys, *to)["logits"], sums(x), rtol=1e-4)
    np.savez(path, a=x, b=x)
    code, line = fail(capsys, *to)
    assert (code, "expected one array, or one called 'x'; found a, b" in line) == (1, True)
    path.write_bytes(path.read_bytes()[:200])
    code, line = fail(capsys, *to)
    assert (code, "not a readable .npy or .npz file" in line) == (1, True)


class SlowClient:
    """Stands for a StreamClient whose agent needs 20 ms a push."""

    pushed = 0

    def push(self, x: np.ndarray) -> StreamAnswer:
        threading.Event().wait(0.02)
        self.pushed += len(x)
        return self.end()

    def end(self) -> StreamAnswer:
        return StreamAnswer(self.pushed, np.zeros(2, np.float32), "low")


def test_rates_are_of_the_pushes() -> None:
    streamed = push_all(SlowClient(), samples(6), 2, lambda _: None)  # type: ignore[arg-type]
    assert len(streamed.pushes_ms) == 3
    assert all(20 <= push_ms < 2000 for push_ms in streamed.pushes_ms)
    assert streamed.samples_per_s <= 100
    steady = replace(streamed, pushes_ms=(3.0, 1.0, 2.0))
    assert (steady.samples_per_s, steady.percentile_ms(50), steady.percentile_ms(99)) == (1000, 2, 3)


def test_people_read_two_lines(capsys: Capture, served: str, tmp_path: Path) -> None:
    x = np.zeros((7, 3), np.float32)
    x[4:] = 10  # class 1 is the larger one from the fifth on
    path = saved(tmp_path / "x.npy", x)
    first, second = succeed(
        capsys, "infer", "numbers", "--stream", "--file", path, "--push", 2, "--agent", served
    ).splitlines()
    assert first == "1 after 7 samples, unchanged since sample 6"
    assert second.startswith("4 pushes of 2: p50 ")
    assert second.endswith(" samples/s")


def test_a_terminal_shows_the_prediction_so_far(served: str, tmp_path: Path) -> None:
    x = np.zeros((200, 3), np.float32)
    x[-50:] = 50
    path = saved(tmp_path / "x.npy", x)
    drawn = stderr_on_a_terminal(["infer", "labelled", "--stream", "--file", str(path), "--agent", served])
    assert "200/200" in drawn
    assert "high" in drawn


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((5, 2)), "the data do not fit the served model; expected samples of shape (T, 3), or"),
        (np.zeros((2, 5, 2)), "found [2, 5, 2]"),
        (np.zeros(5), "found [5]"),
        (np.zeros((0, 3)), "found [0, 3]"),
        (np.array([["a"]]), "wrong kind of data"),
        (np.full((5, 3), np.nan), "expected one or more samples of finite numbers"),
    ],
)
def test_samples_that_do_not_fit(
    capsys: Capture, served: str, tmp_path: Path, array: np.ndarray, expected: str
) -> None:
    path = saved(tmp_path / "x.npy", array)
    code, line = fail(capsys, "infer", "numbers", "--stream", "--file", path, "--agent", served)
    assert (code, expected in line) == (1, True), line


def test_a_token_the_model_does_not_know(capsys: Capture, served: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", np.array([1, 99]))
    code, line = fail(capsys, "infer", "tokens", "--stream", "--file", path, "--agent", served)
    assert (code, "refused the samples" in line) == (1, True), line


def test_a_dataset_of_other_samples(capsys: Capture, served: str, spec: str) -> None:
    code, line = fail(capsys, "infer", "numbers", "--stream", "--dataset", spec, "--agent", served)
    assert (code, "the data do not fit the served model" in line) == (1, True), line


@pytest.mark.parametrize("source", ["--file", "--dataset"])
def test_models_of_the_other_form_are_bad_use(
    capsys: Capture, served: str, spec: str, tmp_path: Path, source: str
) -> None:
    path = saved(tmp_path / "x.npy", np.zeros((2, 16)))
    to = [source, spec if source == "--dataset" else path, "--agent", served]
    code, line = fail(capsys, "infer", "sines", *to)
    assert code == 2
    assert "model 'sines' takes samples as they come, not whole sequences; add --stream" in line
    code, line = fail(capsys, "infer", "whole-sines", *to, "--stream")
    assert code == 2
    assert "model 'whole-sines' takes whole sequences, not samples as they come; leave out --stream" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--row", "0"], "--row is for streams; add --stream"),
        (["--push", "4"], "--push is for streams; add --stream"),
        (["--stream", "--batch-size", "4"], "--batch-size is for requests of whole sequences"),
        (["--stream", "--push", "0"], "Invalid value for '--push'"),
        (["--stream", "--row", "-1"], "Invalid value for '--row'"),
    ],
)
def test_options_of_the_other_form_are_bad_use(capsys: Capture, options: list[str], expected: str) -> None:
    code, line = fail(capsys, "infer", "m", "--file", "x.npy", *options, "--agent", NO_AGENT)
    assert (code, expected in line) == (2, True), line


def test_a_model_that_is_not_served_and_an_agent_that_is_not_there(capsys: Capture, served: str) -> None:
    stream = ["--stream", "--file", "x.npy"]
    code, line = fail(capsys, "infer", "numbres", *stream, "--agent", served)
    assert (code, "did you mean numbers" in line) == (2, True), line
    code, line = fail(capsys, "infer", "numbers", *stream, "--agent", NO_AGENT)
    assert (code, f"no device agent can be reached at {NO_AGENT}" in line) == (1, True)


def test_a_stream_that_the_agent_ends_says_why(capsys: Capture, served: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", np.zeros((LONG, 3)))

    def end() -> None:
        wait_until(lambda: bool(httpx.get(f"{served}/v1/streams").json()))
        (stream,) = httpx.get(f"{served}/v1/streams").json()
        assert httpx.delete(f"{served}/v1/streams/{stream['id']}").status_code == 204

    ending = threading.Thread(target=end)
    ending.start()
    code, line = fail(capsys, "infer", "numbers", "--stream", "--file", path, "--agent", served)
    ending.join(10)
    assert code == 1
    assert line == f"s4op: {served} ended the stream (4410): ended by DELETE /v1/streams"


def test_an_agent_that_dies_meanwhile(capsys: Capture, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", np.zeros((LONG, 3)))
    with agent_process(tmp_path / "data") as agent:
        deploy(floats(), "numbers", agent.url, tmp_path)
        capsys.readouterr()

        def kill() -> None:
            wait_until(lambda: bool(httpx.get(f"{agent.url}/v1/streams").json()))
            agent.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        code, line = fail(capsys, "infer", "numbers", "--stream", "--file", path, "--agent", agent.url)
        killer.join(10)
    assert (code, line) == (1, f"s4op: {agent.url}: the connection was lost")
