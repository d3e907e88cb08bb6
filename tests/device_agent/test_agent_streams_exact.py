"""End to end: what is streamed to an agent ends where the offline model file ends, within 1e-4."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: extra host")
pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed: extra dev")

import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from device_agent.agent import open_agent
from device_agent.settings import Settings
from edge_s4op.client_stream import stream
from edge_s4op.errors import AgentRefusedError, AgentUnreachableError, BadInferenceInputError, UsageError
from edge_s4op.runtime import open_runner
from host.export import export_model, relative_difference
from host.export_streaming import export_streaming
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import serve
from tests.device_agent.live import live
from tests.device_agent.tritons import fed, wanted
from tests.host.export_samples import sample_batch, sample_model

LIMIT, ROWS, LENGTH = 1e-4, 20, 70
MODELS = {
    "s4d": sample_model("s4d", norm="layer"),
    "s4": sample_model("s4", norm="batch"),
    "s4d-tokens": sample_model("s4d", "tokens"),
    "s4-tokens": sample_model("s4", "tokens"),
}


@dataclass(frozen=True)
class Offline:
    """Sequences (ROWS, LENGTH, ...), and the offline file's logits after them."""

    x: np.ndarray
    logits: np.ndarray


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("exact")
    with live(open_agent(Settings(data_dir=folder / "data", device_lock=folder / "lock"))) as http:
        for name, model in MODELS.items():
            assert serve(http, name, export_streaming(model), max_batch=8).status_code == 200
        windowed = export_streaming(MODELS["s4"], window=LENGTH)
        assert serve(http, "s4-window", windowed).status_code == 200
        assert serve(http, "plain", scaling_artifact()).status_code == 200
        yield http


@pytest.fixture(scope="module")
def offline() -> Callable[[str], Offline]:
    known = {name: _offline(name) for name in MODELS}
    return lambda name: known[name.removesuffix("-window")]


def _offline(name: str) -> Offline:
    model = MODELS[name]
    x = sample_batch(model.config, ROWS).numpy()
    runner = open_runner(export_model(model))
    try:
        return Offline(x, runner.run({"input": x})["logits"])
    finally:
        runner.close()


def url(http: httpx.Client) -> str:
    return str(http.base_url)


def parts_of(x: np.ndarray, index: int) -> list[np.ndarray]:
    """x cut into parts of 1 to 20 samples, other ones for each index."""
    cuts = np.cumsum(np.random.default_rng(index).integers(1, 21, LENGTH))
    return np.split(x, cuts[cuts < LENGTH])


@pytest.mark.parametrize("name", [*MODELS, "s4-window"])
@pytest.mark.parametrize("one_by_one", [True, False])
def test_a_websocket_ends_where_the_offline_file_ends(
    http: httpx.Client, offline: Callable[[str], Offline], name: str, one_by_one: bool
) -> None:
    x, expected = offline(name).x[0], offline(name).logits[0]
    with stream(url(http), name) as client:
        for part in np.split(x, LENGTH) if one_by_one else parts_of(x, 0):
            answer = client.push(part)
        assert client.end().logits.tolist() == answer.logits.tolist()
    assert answer.samples == LENGTH
    assert relative_difference(answer.logits, expected) <= LIMIT
    assert answer.prediction == int(np.argmax(expected))


@pytest.mark.parametrize("name", MODELS)
def test_a_sequence_of_tritons_client_ends_there_too(
    http: httpx.Client, offline: Callable[[str], Offline], name: str
) -> None:
    x, expected = offline(name).x[1], offline(name).logits[1]
    parts, last = parts_of(x, 1), None
    with triton.InferenceServerClient(url(http).removeprefix("http://").rstrip("/")) as client:
        for index, part in enumerate(parts):
            last = client.infer(
                name,
                [fed(part[None], name="input")],
                outputs=[wanted("logits")],
                sequence_id=7,
                sequence_start=index == 0,
                sequence_end=index == len(parts) - 1,
            )
        with pytest.raises(InferenceServerException, match="must specify the START flag"):
            client.infer(name, [fed(x[None, :1], name="input")], sequence_id=7)
        whole = client.infer(name, [fed(x[None], name="input")])
    assert relative_difference(last.as_numpy("logits")[0], expected) <= LIMIT
    assert relative_difference(whole.as_numpy("logits")[0], expected) <= LIMIT


def test_twenty_streams_at_once_end_where_they_should(
    http: httpx.Client, offline: Callable[[str], Offline]
) -> None:
    def last_of(index: int) -> np.ndarray:
        with stream(url(http), "s4d") as client:
            answers = [client.push(part) for part in parts_of(offline("s4d").x[index], index)]
        return answers[-1].logits

    with ThreadPoolExecutor(ROWS) as pool:
        found = list(pool.map(last_of, range(ROWS)))
    for logits, expected in zip(found, offline("s4d").logits, strict=True):
        assert relative_difference(logits, expected) <= LIMIT


def test_a_long_push_is_many_frames(http: httpx.Client) -> None:
    x = np.random.default_rng(0).standard_normal((40_000, 2), np.float32)
    with stream(url(http), "s4d") as client:
        whole = client.push(x)
        assert client.reset().samples == 0
        halves = [client.push(half) for half in np.split(x, 2)]
    assert (whole.samples, halves[-1].samples) == (40_000, 40_000)
    assert relative_difference(halves[-1].logits, whole.logits) <= LIMIT


def test_what_is_wrong_has_an_error_of_its_own(http: httpx.Client) -> None:
    x = np.zeros((1, 2), np.float32)
    with stream(url(http), "s4d") as client:
        for wrong in (x * np.nan, x[:0], np.array([["a", "b"]]), np.float32(1)):
            with pytest.raises(BadInferenceInputError, match="no samples"):
                client.push(wrong)
        assert client.push(x).samples == 1
        with pytest.raises(BadInferenceInputError, match="refused the samples"):
            client.push(np.zeros((1, 3)))
    with (
        stream(url(http), "s4d-tokens") as client,
        pytest.raises(BadInferenceInputError, match="out of range"),
    ):
        client.push([11])
    for name, status, reason in (("unknown", 404, "no model"), ("plain", 400, "takes whole sequences")):
        with stream(url(http), name) as client, pytest.raises(AgentRefusedError, match=reason) as caught:
            client.push(x)
        assert caught.value.status_code == status
    with (
        stream(url(http), "s4d", normalise=True, priority=-1) as client,
        pytest.raises(AgentRefusedError, match="bad option priority"),
    ):
        client.push(x)


def test_an_address_without_an_agent_is_told() -> None:
    with pytest.raises(AgentUnreachableError, match="no device agent"), stream("http://127.0.0.1:9", "m"):
        pass
    with pytest.raises(UsageError, match="not an agent address"), stream("jetson:8600", "m"):
        pass
