"""Many requests at once by tritonclient[http], from greenlets and from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import numpy as np
import pytest

pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed: extra dev")

import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.device_agent.tritons import MODELS, X, agent_of_models, fed, wanted


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with agent_of_models(tmp_path_factory.mktemp("triton")) as address:
        yield address


def in_a_loop(address: str, ask: Callable) -> object:
    async def asked() -> object:
        async with triton_aio.InferenceServerClient(address) as client:
            return await ask(client)

    return asyncio.run(asked())


def test_many_requests_at_once(address: str) -> None:
    arrays = [np.full((1 + i % 4, 3), i, dtype=np.float32) for i in range(100)]
    with triton.InferenceServerClient(address, concurrency=8) as client:
        pending = [
            client.async_infer("fp32", [fed(array)], request_id=str(i + 1)) for i, array in enumerate(arrays)
        ]
        for i, request in enumerate(pending):
            result = request.get_result(timeout=30)
            assert result.get_response()["id"] == str(i + 1)
            np.testing.assert_array_equal(result.as_numpy("y"), 2 * arrays[i])


def test_many_requests_at_once_in_one_loop(address: str) -> None:
    arrays = [np.full((1 + i % 4, 3), i, dtype=np.float32) for i in range(100)]

    async def ask(client: triton_aio.InferenceServerClient) -> list:
        return await asyncio.gather(*(client.infer("fp32", [fed(array)]) for array in arrays))

    for array, result in zip(arrays, in_a_loop(address, ask), strict=True):
        np.testing.assert_array_equal(result.as_numpy("z"), -2 * array)


def test_the_asynchronous_client_asks_everything(address: str) -> None:
    async def ask(client: triton_aio.InferenceServerClient) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("fp16", "1")
        assert (await client.get_server_metadata())["name"] == "s4op-agent"
        assert (await client.get_model_metadata("fp16"))["inputs"][0]["datatype"] == "FP16"
        assert (await client.get_model_config("fp16"))["input"][0]["data_type"] == "TYPE_FP16"
        assert {entry["name"] for entry in await client.get_model_repository_index()} == {*MODELS}
        assert (await client.get_inference_statistics("fp16"))["model_stats"][0]["name"] == "fp16"
        await client.unload_model("fp16")
        assert not await client.is_model_ready("fp16")
        await client.load_model("fp16")
        with pytest.raises(InferenceServerException, match="unknown input 'w'"):
            await client.infer("fp16", [fed(X.astype(np.float16), name="w")])

    in_a_loop(address, ask)


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_the_asynchronous_client_infers(address: str, algorithm: str | None, binary: bool) -> None:
    x = np.arange(3000, dtype=np.float32).reshape(1000, 3)

    async def ask(client: triton_aio.InferenceServerClient) -> np.ndarray:
        result = await client.infer(
            "fp32",
            [fed(x, binary=binary)],
            outputs=[wanted("y", binary_data=binary)],
            request_id="7",
            priority=2,
            timeout=10_000_000,
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
        assert result.get_response()["id"] == "7"
        return result.as_numpy("y")

    np.testing.assert_array_equal(in_a_loop(address, ask), 2 * x)
