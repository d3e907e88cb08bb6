"""Agents that are not there, are something else, or die at work."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from host.cli.main import run
from tests.device_agent.agent_helpers import REPOSITORY, AgentProcess, agent_process
from tests.host.cli.cli_samples import (
    NO_AGENT,
    QUICK,
    Capture,
    fail,
    killed_at,
    other_server,
    succeed,
    succeed_json,
)

# Never precise enough: a measurement takes its whole 0.4 s.
SLOW = ("--max-duration-ms", "400", "--precision", "0.000001")


def test_an_agent_that_is_not_there(capsys: Capture, checkpoint: Path, tmp_path: Path) -> None:
    code, line = fail(capsys, "prune", checkpoint, "--out", tmp_path / "p", "--agent", NO_AGENT)
    assert code == 1
    assert f"no device agent can be reached at {NO_AGENT}" in line
    assert "s4op-agent" in line
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("body", "kind"), [(b"<html>router</html>", "text/html"), (b'{"hello": 1}', "application/json")]
)
def test_something_else_answers(
    capsys: Capture, model_file: Path, checkpoint: Path, tmp_path: Path, body: bytes, kind: str
) -> None:
    with other_server(body, kind) as url:
        for command in (
            ["measure", model_file],
            ["deploy", model_file, "--name", "x"],
            ["infer", "x", "--dataset", "npz:x"],
            ["prune", checkpoint, "--out", tmp_path / "p"],
        ):
            code, line = fail(capsys, *command, "--agent", url)
            assert code == 1
            assert f"{url} does not answer as a device agent" in line
    assert not (tmp_path / "p").exists()


def test_an_agent_that_dies_in_a_measurement(capsys: Capture, model_file: Path, tmp_path: Path) -> None:
    with agent_process(tmp_path / "data") as agent:
        with killed_at(agent, measurement=1):
            code, line = fail(capsys, "measure", model_file, "--agent", agent.url, *SLOW)
        assert code == 1
        assert "lost during measurement" in line
        with agent_process(tmp_path / "data", "--port", agent.port) as again:
            measured = succeed_json(capsys, "measure", model_file, "--agent", again.url, *QUICK)
            assert measured["latency_ms"]["median"] > 0


def test_a_search_goes_on_after_its_agent_died(capsys: Capture, checkpoint: Path, tmp_path: Path) -> None:
    options = ["--rates", "0.5", "--agent-wait-s", "0", "--remeasure", "0", *SLOW]
    search = ["prune", checkpoint, "--out", tmp_path / "p", *options]
    with agent_process(tmp_path / "data") as agent:
        with killed_at(agent, measurement=2):
            code, line = fail(capsys, *search, "--agent", agent.url, lines=3)
        assert code == 1
        assert "lost during measurement" in line
        unpruned = _trials(tmp_path / "p")
        assert len(unpruned) == 1
        with agent_process(tmp_path / "data", "--port", agent.port) as again:
            done = succeed_json(capsys, *search, "--agent", again.url, "--resume")
        assert [model["model"] for model in done["models"]] == ["keep-1.00", "keep-0.50"]
        assert _trials(tmp_path / "p")[0] == unpruned[0]


def _trials(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def test_a_stopped_search_says_how_to_go_on(
    capsys: Capture, checkpoint: Path, tmp_path: Path, agent: AgentProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("host.search.executor_task.train", interrupted)
    options = ["--out", tmp_path / "p", "--agent", agent.url, "--rates", "0.5", *QUICK]
    assert run([str(part) for part in ["prune", checkpoint, *options]]) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == [
        f"what is finished is kept in {tmp_path / 'p'}: continue with --resume",
        "s4op: interrupted",
    ]


@pytest.mark.parametrize("name", ["tset", "x"])
def test_a_model_that_is_not_served(
    capsys: Capture, model_file: Path, spec: str, agent: AgentProcess, name: str
) -> None:
    succeed(capsys, "deploy", model_file, "--name", "test", "--agent", agent.url)
    code, line = fail(capsys, "infer", name, "--dataset", spec, "--agent", agent.url)
    assert code == 2
    assert f"unknown model on {agent.url} {name!r}" in line
    assert ("did you mean test?" in line) == (name == "tset")
    answer = httpx.post(f"{agent.url}/v2/models/{name}/infer", json={"inputs": []})
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("name", "shape", "datatype"),
    [("wrong", [1, 16, 1], "FP32"), ("input", [1, 15, 1], "FP32"), ("input", [1, 16, 1], "INT64")],
)
def test_a_wrong_input_is_400(
    capsys: Capture, model_file: Path, agent: AgentProcess, name: str, shape: list[int], datatype: str
) -> None:
    succeed(capsys, "deploy", model_file, "--name", "test", "--agent", agent.url)
    tensor = {"name": name, "shape": shape, "datatype": datatype, "data": [0] * int(np.prod(shape))}
    answer = httpx.post(f"{agent.url}/v2/models/test/infer", json={"inputs": [tensor]})
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((3, 15), np.float32), "the data do not fit the served model"),
        (np.zeros((3, 16, 2), np.float32), "the data do not fit the served model"),
        (np.zeros(16, np.float32), "the data do not fit the served model"),
        (np.zeros((0, 16), np.float32), "no sequences"),
        (np.array([["a"]]), "wrong kind of data"),
    ],
)
def test_a_file_that_does_not_fit_is_not_sent(
    capsys: Capture, model_file: Path, agent: AgentProcess, tmp_path: Path, array: np.ndarray, expected: str
) -> None:
    succeed(capsys, "deploy", model_file, "--name", "test", "--agent", agent.url)
    np.save(tmp_path / "x.npy", array)
    code, line = fail(capsys, "infer", "test", "--file", tmp_path / "x.npy", "--agent", agent.url)
    assert code == 1
    assert expected in line


def test_an_upload_under_another_hash_is_400(agent: AgentProcess, model_file: Path) -> None:
    wrong = f"{agent.url}/v1/artifacts/{'0' * 64}"
    answer = httpx.put(wrong, content=model_file.read_bytes())
    assert answer.status_code == 400
    assert "the content does not match the hash" in answer.json()["error"]
    assert httpx.get(wrong).status_code == 404


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "device_agent",
            "--port",
            str(port),
            "--data-dir",
            str(tmp_path / "d"),
        ]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{port}" in done.stderr
    assert "in use" in done.stderr
