"""A stream over a WebSocket: every split of the samples gives the whole sequence's answer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from device_agent.agent import Agent
from tests.device_agent.agent_requests import serve
from tests.device_agent.fakes import wait_until
from tests.device_agent.stream_agents import (
    asked,
    closing,
    floats,
    labelled,
    open_socket,
    samples,
    streaming_agent,
    sums,
)
from tests.edge_s4op.stream_samples import TABLE

Running = tuple[Agent, httpx.Client]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with streaming_agent(tmp_path_factory.mktemp("streams"), lease_wait_s=0.05) as running:
        yield running


@pytest.fixture
def http(running: Running) -> httpx.Client:
    return running[1]


def logits(answer: dict) -> list[float]:
    return answer["outputs"]["logits"]


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("parts", [[6], [1, 5], [2, 2, 2], [1] * 6])
def test_any_split_of_the_samples_is_the_whole(http: httpx.Client, parts: list[int], as_json: bool) -> None:
    x, seen = samples(6), 0
    with open_socket(http) as socket:
        for part in np.split(x, np.cumsum(parts)[:-1]):
            answer = asked(socket, {"samples": part.tolist()} if as_json else part)
            seen += len(part)
            assert answer["samples"] == seen
            np.testing.assert_allclose(logits(answer), sums(x[:seen]), rtol=1e-5, atol=1e-5)
            assert answer["prediction"] == int(np.argmax(logits(answer)))


def test_tokens_are_whole_numbers(http: httpx.Client) -> None:
    with open_socket(http, "tokens/stream") as socket:
        assert logits(asked(socket, {"samples": [1, 4]})) == (TABLE[1] + TABLE[4]).tolist()
        answer = asked(socket, np.array([2], "<i8"))
        assert logits(answer) == (TABLE[1] + TABLE[4] + TABLE[2]).tolist()
        assert answer["samples"] == 3


def test_a_reset_forgets_and_an_end_has_the_last_word(http: httpx.Client) -> None:
    x = samples(3)
    with open_socket(http) as socket:
        asked(socket, x)
        assert asked(socket, {"reset": True}) == {"samples": 0, "outputs": {}, "prediction": None}
        answer = asked(socket, {"reset": True, "samples": x[:1].tolist()})
        np.testing.assert_allclose(logits(answer), sums(x[:1]), rtol=1e-5, atol=1e-5)
        last = asked(socket, {"end": True})
        assert last == answer | {"end": True}
        assert closing(socket) == (1000, "")
    with open_socket(http) as socket:
        answer = asked(socket, {"samples": x.tolist(), "end": True})
        assert (answer["samples"], answer["end"]) == (3, True)
        assert closing(socket)[0] == 1000


def test_answers_come_every_so_many_samples_however_they_are_sent(http: httpx.Client) -> None:
    x = samples(11)
    with open_socket(http, "m/stream?every=4") as socket:
        for part in (x[:1], x[1:10]):
            socket.send(part.tobytes())
        socket.send(json.dumps({"samples": x[10:].tolist(), "end": True}))
        answers = [json.loads(socket.recv(20)) for _ in range(3)]
        assert [answer["samples"] for answer in answers] == [4, 8, 11]
        for answer in answers:
            np.testing.assert_allclose(logits(answer), sums(x[: answer["samples"]]), rtol=1e-4, atol=1e-4)
        assert closing(socket)[0] == 1000


def test_an_end_on_the_count_is_answered_once(http: httpx.Client) -> None:
    with open_socket(http, "m/stream?every=2") as socket:
        assert asked(socket, {"samples": samples(2).tolist(), "end": True})["end"]
        assert closing(socket)[0] == 1000


def test_pushes_are_as_urgent_as_the_address_says(tmp_path: Path) -> None:
    with streaming_agent(tmp_path) as (agent, http):
        assert serve(http, "m", floats(), priority_levels=3).status_code == 200  # the default is 2
        scheduler = agent.serving._slots["m"].working.scheduler
        with contextlib.ExitStack() as opened:
            addresses = [f"m/stream?priority={priority}" for priority in (3, 0, 1, 9)]
            sockets = [opened.enter_context(open_socket(http, address)) for address in addresses]
            with agent.lease.hold("the test"):
                for socket in sockets:
                    socket.send(samples(1).tobytes())
                wait_until(lambda: scheduler.depth == 4)
                levels = sorted(entry[0] for entry in scheduler._line._heap)
            assert levels == [1, 2, 2, 3]
            for socket in sockets:
                assert json.loads(socket.recv(20))["samples"] == 1


def test_binary_answers(http: httpx.Client) -> None:
    x = samples(5)
    with open_socket(http, "m/stream?format=binary") as socket:
        socket.send(x.tobytes())
        answer = socket.recv(20)
        assert int.from_bytes(answer[:8], "little") == 5
        np.testing.assert_allclose(np.frombuffer(answer[8:], "<f4"), sums(x), rtol=1e-5, atol=1e-5)
        socket.send('{"reset": true}')
        assert socket.recv(20) == bytes(8)


def test_raw_samples_are_normalised_and_labels_named_as_the_file_says(http: httpx.Client) -> None:
    assert serve(http, "labelled", labelled()).status_code == 200
    x = samples(4)
    with open_socket(http, "labelled/stream?normalise=1") as socket:
        answer = asked(socket, {"samples": (x * 2 + [1, 2, 3]).tolist()})
    np.testing.assert_allclose(logits(answer), sums(x), rtol=1e-4, atol=1e-4)
    assert answer["prediction"] == ("low", "high")[int(np.argmax(sums(x)))]


def test_twenty_streams_at_once_do_not_mix(http: httpx.Client) -> None:
    def last_of(seed: int) -> list[float]:
        x = samples(30, seed)
        with open_socket(http) as socket:
            answers = [asked(socket, part) for part in np.split(x, 10)]
        return logits(answers[-1])

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(last_of, range(20)))
    for seed, last in enumerate(found):
        np.testing.assert_allclose(last, sums(samples(30, seed)), rtol=1e-4, atol=1e-4)


def test_a_measurement_holds_streams_up_and_they_go_on_after_it(running: Running) -> None:
    agent, http = running
    x = samples(2)
    with open_socket(http) as socket:
        asked(socket, x[:1])
        rejected = agent.serving.model("m").statistics.snapshot().rejected
        with agent.lease.hold("measurement"):
            socket.send(x[1:].tobytes())
            wait_until(lambda: agent.serving.model("m").statistics.snapshot().rejected > rejected + 1)
        answer = json.loads(socket.recv(20))
    assert answer["samples"] == 2
    np.testing.assert_allclose(logits(answer), sums(x), rtol=1e-5, atol=1e-5)


def test_streams_that_wait_together_run_together(running: Running) -> None:
    agent, http = running
    model = agent.serving.model("m")
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(open_socket(http)) for _ in range(5)]
        for seed, socket in enumerate(sockets):  # of different age
            for row in samples(seed + 1, seed):
                asked(socket, row)
        before = model.statistics.snapshot().execution_count
        with agent.lease.hold("measurement"):
            for socket in sockets:
                socket.send(np.ones((1, 3), np.float32).tobytes())
            wait_until(lambda: model.depth == 5)
        answers = [json.loads(socket.recv(20)) for socket in sockets]
        assert model.statistics.snapshot().execution_count < before + 5
    for seed, answer in enumerate(answers):
        x = np.concatenate([samples(seed + 1, seed), np.ones((1, 3), np.float32)])
        assert answer["samples"] == seed + 2
        np.testing.assert_allclose(logits(answer), sums(x), rtol=1e-4, atol=1e-4)


def test_open_streams_are_listed_until_their_client_leaves(running: Running) -> None:
    agent, http = running
    wait_until(lambda: agent.streams.count == 0)
    with open_socket(http) as socket:
        asked(socket, samples(3))
        (entry,) = http.get("/v1/streams").json()
        assert (entry["model"], entry["kind"], entry["samples"]) == ("m", "websocket", 3)
        assert (entry["sequence_id"], entry["state_bytes"]) == (None, 8)
        assert 0 <= entry["idle_s"] <= entry["age_s"]
        assert (agent.streams.count, agent.streams.state_bytes) == (1, 8)
    wait_until(lambda: agent.streams.totals() == (0, 0))


def test_the_same_file_loaded_anew_goes_on(http: httpx.Client) -> None:
    assert serve(http, "labelled", labelled()).status_code == 200
    x = samples(2)
    with open_socket(http, "labelled/stream") as socket:
        asked(socket, x[:1])
        assert serve(http, "labelled", labelled(), max_batch=2).status_code == 200
        np.testing.assert_allclose(logits(asked(socket, x[1:])), sums(x), rtol=1e-5, atol=1e-5)


def test_plain_http_is_told_to_upgrade(http: httpx.Client) -> None:
    answer = http.get("/v2/models/m/stream")
    assert answer.status_code == 426
    assert "WebSocket" in answer.json()["error"]
