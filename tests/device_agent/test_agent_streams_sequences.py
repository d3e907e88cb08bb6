"""Triton's sequences: requests that name one share its state, in Triton's words where they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from device_agent.agent import Agent
from device_agent.scheduler import Answered, Wanted
from device_agent.v2.parameters import Sequence
from tests.device_agent.agent_requests import serve
from tests.device_agent.fakes import wait_until
from tests.device_agent.stream_agents import floats, labelled, samples, streaming_agent, sums
from tests.edge_s4op.stream_samples import TABLE

Running = tuple[Agent, httpx.Client]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with streaming_agent(tmp_path_factory.mktemp("sequences")) as running:
        yield running


@pytest.fixture
def http(running: Running) -> httpx.Client:
    return running[1]


def pushed(
    http: httpx.Client, x: np.ndarray, model: str = "m", batch: int = 1, **parameters: object
) -> httpx.Response:
    datatype = "INT64" if x.dtype.kind == "i" else "FP32"
    tensor = {"name": "input", "datatype": datatype, "shape": [batch, *x.shape], "data": [x.tolist()] * batch}
    body = {"inputs": [tensor], "outputs": [{"name": "logits"}], "parameters": parameters}
    return http.post(f"/v2/models/{model}/infer", json=body)


def logits(answer: httpx.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"]


def error(answer: httpx.Response) -> str:
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def must_start(sequence_id: object, model: str = "m") -> str:
    return (
        f"inference request for sequence {sequence_id} to model '{model}' must specify the START flag on the "
        "first request of the sequence"
    )


@pytest.mark.parametrize("sequence_id", [1, 2**64 - 1, "patient 4/left", "ü"])
def test_requests_of_a_sequence_are_one_stream(running: Running, sequence_id: int | str) -> None:
    agent, http = running
    x = samples(6)
    pushed(http, x[:2], sequence_id=sequence_id, sequence_start=True)
    assert [info.sequence_id for info in agent.streams.all()] == [sequence_id]
    middle = pushed(http, x[2:3], sequence_id=sequence_id)
    np.testing.assert_allclose(logits(middle), sums(x[:3]), rtol=1e-5, atol=1e-5)
    last = pushed(http, x[3:], sequence_id=sequence_id, sequence_end=True)
    np.testing.assert_allclose(logits(last), sums(x), rtol=1e-5, atol=1e-5)
    assert agent.streams.totals() == (0, 0)


def test_sequences_do_not_mix_whatever_their_names(http: httpx.Client) -> None:
    x, y = samples(2, 1), samples(2, 2)
    for identity, rows in ((5, x), ("5", y)):
        pushed(http, rows[:1], sequence_id=identity, sequence_start=True)
    for identity, rows in ((5, x), ("5", y)):
        answer = pushed(http, rows[1:], sequence_id=identity, sequence_end=True)
        np.testing.assert_allclose(logits(answer), sums(rows), rtol=1e-5, atol=1e-5)


def test_a_sequence_of_tokens_and_one_of_several_rows(http: httpx.Client) -> None:
    pushed(http, np.array([1]), "tokens", sequence_id=1, sequence_start=True)
    answer = pushed(http, np.array([4]), "tokens", sequence_id=1, sequence_end=True)
    assert logits(answer) == (TABLE[1] + TABLE[4]).tolist()
    x = samples(2)
    pushed(http, x[:1], batch=3, sequence_id=1, sequence_start=True)
    assert "number of streams" in error(pushed(http, x[1:], batch=2, sequence_id=1))
    answer = pushed(http, x[1:], batch=3, sequence_id=1, sequence_end=True)
    np.testing.assert_allclose(logits(answer), np.tile(sums(x), 3), rtol=1e-5, atol=1e-5)


def test_what_was_not_started_or_has_ended_must_start(http: httpx.Client) -> None:
    x = samples(1)
    assert error(pushed(http, x, sequence_id=9)) == must_start(9)
    assert error(pushed(http, x, sequence_id="a", sequence_end=True)) == must_start("a")
    assert pushed(http, x, sequence_id=9, sequence_start=True, sequence_end=True).status_code == 200
    assert error(pushed(http, x, sequence_id=9, sequence_end=True)) == must_start(9)
    pushed(http, x, sequence_id=9, sequence_start=True)
    assert error(pushed(http, np.array([1]), "tokens", sequence_id=9)) == must_start(9, "tokens")
    pushed(http, x, sequence_id=9, sequence_end=True)


def test_a_start_begins_anew(running: Running) -> None:
    agent, http = running
    x = samples(3)
    pushed(http, x[:1], sequence_id=4, sequence_start=True)
    pushed(http, x[1:2], sequence_id=4, sequence_start=True)
    assert agent.streams.count == 1
    answer = pushed(http, x[2:], sequence_id=4, sequence_end=True)
    np.testing.assert_allclose(logits(answer), sums(x[1:]), rtol=1e-5, atol=1e-5)


def test_a_wrong_request_leaves_the_sequence_where_it_was(running: Running) -> None:
    agent, http = running
    x = samples(2)
    pushed(http, x[:1], sequence_id=3, sequence_start=True)
    wrong = np.zeros((1, 2), np.float32)
    assert "wrong shape" in error(pushed(http, wrong, sequence_id=3))
    assert "wrong shape" in error(pushed(http, wrong, sequence_id=3, sequence_end=True))
    assert "wrong datatype" in error(pushed(http, np.array([[1, 2, 3]]), sequence_id=3))
    answer = pushed(http, x[1:], sequence_id=3, sequence_end=True)
    np.testing.assert_allclose(logits(answer), sums(x), rtol=1e-5, atol=1e-5)
    assert pushed(http, wrong, sequence_id=3, sequence_start=True).status_code == 400
    assert agent.streams.count == 0


def test_states_are_the_agents_business(http: httpx.Client) -> None:
    feeds = [
        {"name": "input", "datatype": "FP32", "shape": [1, 1, 3], "data": [1, 2, 3]},
        {"name": "total", "datatype": "FP32", "shape": [1, 2], "data": [10, 20]},
    ]
    parameters = {"sequence_id": 1, "sequence_start": True}
    answer = http.post("/v2/models/m/infer", json={"inputs": feeds, "parameters": parameters})
    assert "the agent keeps its states" in error(answer)
    answer = http.post("/v2/models/m/infer", json={"inputs": feeds})  # who keeps them himself may
    np.testing.assert_allclose(logits(answer), sums(np.array([[1, 2, 3]])) + np.array([10, 20]))


@pytest.mark.parametrize("parameters", [{}, {"sequence_id": 0}, {"sequence_id": ""}])
def test_without_an_id_the_request_is_a_whole_sequence(running: Running, parameters: dict) -> None:
    agent, http = running
    x = samples(5)
    for _ in range(2):
        np.testing.assert_allclose(logits(pushed(http, x, **parameters)), sums(x), rtol=1e-5, atol=1e-5)
    assert agent.streams.count == 0


def test_states_come_only_where_they_are_asked_for_or_given(http: httpx.Client) -> None:
    given = {"name": "input", "datatype": "FP32", "shape": [1, 1, 3], "data": [1, 2, 3]}
    state = {"name": "total", "datatype": "FP32", "shape": [1, 2], "data": [10, 20]}

    def outputs(**request: object) -> list[str]:
        answer = http.post("/v2/models/m/infer", json=request)
        assert answer.status_code == 200, answer.text
        return [output["name"] for output in answer.json()["outputs"]]

    once = {"sequence_id": 7, "sequence_start": True, "sequence_end": True}
    assert outputs(inputs=[given]) == outputs(inputs=[given], parameters=once) == ["logits"]
    named = [{"name": "next_total"}, {"name": "logits"}]
    assert outputs(inputs=[given], outputs=named, parameters=once) == ["next_total", "logits"]
    assert sorted(outputs(inputs=[given, state])) == ["logits", "next_total"]


def test_an_urgent_sequence_goes_first(tmp_path: Path) -> None:
    order: list[int] = []
    with streaming_agent(tmp_path) as (agent, http):
        levels = {"priority_levels": 2, "default_priority": 2}
        assert serve(http, "m", floats(), max_batch=1, **levels).status_code == 200

        async def one(identity: int, priority: int) -> None:
            wanted = Wanted({"input": samples(1)[None]}, priority)
            await agent.sequences.infer("m", Sequence(identity, True, True), wanted)
            order.append(identity)

        async def all_at_once() -> None:
            with agent.lease.hold("the test"):
                tasks = [asyncio.create_task(one(*each)) for each in ((2, 0), (3, 0), (4, 1))]
                while agent.serving.model("m").depth < 3:
                    await asyncio.sleep(0.01)
            await asyncio.gather(*tasks)

        asyncio.run(all_at_once())
    assert order == [4, 2, 3]


def test_a_request_that_waits_too_long_leaves_the_sequence_where_it_was(tmp_path: Path) -> None:
    x = samples(3)
    with streaming_agent(tmp_path) as (agent, http), ThreadPoolExecutor(1) as pool:
        pushed(http, x[:1], sequence_id=1, sequence_start=True)
        with agent.lease.hold("the test"):
            answer = pushed(http, x[1:2], sequence_id=1, timeout=20_000)
            assert answer.status_code == 503
            assert "timed out in the queue" in answer.json()["error"]
            second = pool.submit(pushed, http, x[1:2], sequence_id=1)
            wait_until(lambda: agent.serving.model("m").depth == 1)
            answer = pushed(http, x[2:], sequence_id=1, timeout=20_000)
            assert answer.status_code == 503
            assert "timed out behind others of sequence 1" in answer.json()["error"]
            assert "Retry-After" in answer.headers
        np.testing.assert_allclose(logits(second.result(20)), sums(x[:2]), rtol=1e-5, atol=1e-5)
        answer = pushed(http, x[2:], sequence_id=1, sequence_end=True, timeout=60_000_000)
        np.testing.assert_allclose(logits(answer), sums(x), rtol=1e-5, atol=1e-5)
        assert agent.streams.count == 0


def test_another_file_under_the_name_must_start_anew(running: Running) -> None:
    agent, http = running
    assert serve(http, "changing", floats()).status_code == 200
    pushed(http, samples(1), "changing", sequence_id=1, sequence_start=True)
    assert serve(http, "changing", labelled()).status_code == 200
    assert error(pushed(http, samples(1), "changing", sequence_id=1)) == must_start(1, "changing")
    assert agent.streams.count == 0


def test_idle_sequences_expire(tmp_path: Path) -> None:
    with streaming_agent(tmp_path, stream_idle_s=1.5) as (agent, http):
        pushed(http, samples(1), sequence_id=1, sequence_start=True)
        assert agent.streams.totals() == (1, 8)
        wait_until(lambda: not agent.streams._streams)  # though nobody asks for anything
        assert error(pushed(http, samples(1), sequence_id=1)) == must_start(1)


def test_sequences_are_limited_in_memory(tmp_path: Path) -> None:
    with streaming_agent(tmp_path, stream_state_bytes=20) as (_, http):
        for identity in (1, 2):
            pushed(http, samples(1), sequence_id=identity, sequence_start=True)
        answer = pushed(http, samples(1), sequence_id=3, sequence_start=True)
        assert answer.status_code == 503
        assert "16 of 20 bytes" in answer.json()["error"]
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        answer = pushed(http, samples(1), batch=3, sequence_id=4, sequence_start=True)
        assert answer.status_code == 503
        assert "stream-state-bytes" in answer.json()["error"]
        pushed(http, samples(1), sequence_id=1, sequence_end=True)
        assert pushed(http, samples(1), sequence_id=3, sequence_start=True).status_code == 200


def test_a_sequence_can_be_ended_by_its_streams_id(http: httpx.Client) -> None:
    pushed(http, samples(1), sequence_id=8, sequence_start=True)
    (entry,) = http.get("/v1/streams").json()
    assert (entry["kind"], entry["sequence_id"], entry["samples"]) == ("sequence", 8, 1)
    assert http.delete(f"/v1/streams/{entry['id']}").status_code == 204
    assert http.get("/v1/streams").json() == []
    assert error(pushed(http, samples(1), sequence_id=8)) == must_start(8)


def test_requests_of_one_sequence_run_in_the_order_of_coming(running: Running) -> None:
    agent, _ = running
    x = samples(8)

    async def all_at_once() -> list[Answered]:
        requests = (
            agent.sequences.infer("m", Sequence(6, i == 0, i == 7), Wanted({"input": x[None, i : i + 1]}))
            for i in range(8)
        )
        return await asyncio.gather(*requests)

    for index, answered in enumerate(asyncio.run(all_at_once())):
        found = answered.outputs["logits"][0]
        np.testing.assert_allclose(found, sums(x[: index + 1]), rtol=1e-5, atol=1e-5)
    assert agent.streams.count == 0
