"""An answer's head and body go out together, and nothing waits for what comes later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from device_agent.one_write import OneWriteProtocol

Act = Callable[[Send], Awaitable[None]]


class Transport(asyncio.Transport):
    """Keeps what was written, write by write, and b"" for the end."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.sent.append(bytes(data))

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def close(self) -> None:
        self.closing = True
        self.sent.append(b"")

    def is_closing(self) -> bool:
        return self.closing

    def resume_reading(self) -> None: ...


def answered(act: Act, *headers: str, gone: bool = False) -> list[bytes]:
    """What an application that does `act` writes, and when; `gone`: the client has left by then."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if gone:
            transport.closing = True
        await act(send)

    async def one_request() -> None:
        config = uvicorn.Config(app, http=OneWriteProtocol, log_config=None, lifespan="off")
        config.load()
        protocol = OneWriteProtocol(config=config, server_state=ServerState(), app_state={})
        protocol.connection_made(transport)
        protocol.data_received("\r\n".join(["GET / HTTP/1.1", "Host: here", *headers, "", ""]).encode())
        await asyncio.gather(*protocol.tasks)
        await asyncio.sleep(0)
        protocol.connection_lost(OSError("the test has ended"))

    transport = Transport()
    asyncio.run(one_request())
    return transport.sent


async def head(send: Send, length: int) -> None:
    headers = [(b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def body(send: Send, content: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": more})


async def whole(send: Send) -> None:
    await head(send, 6)
    await body(send, b"answer")


def test_an_answer_is_one_write() -> None:
    (answer,) = answered(whole)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nanswer")


def test_it_is_sent_before_the_connection_is_closed() -> None:
    answer, end = answered(whole, "Connection: close")
    assert answer.endswith(b"answer")
    assert end == b""


@pytest.mark.parametrize("parts", [(b"", b"one", b"two"), (b"one", b"two", b"three")])
def test_what_is_there_does_not_wait_for_the_rest(parts: tuple[bytes, ...]) -> None:
    async def in_parts(send: Send) -> None:
        await head(send, len(b"".join(parts)))
        for part in parts:
            if part:
                await body(send, part, more=True)
            await asyncio.sleep(0.001)
        await body(send, b"")

    first, *others = answered(in_parts)
    assert first.endswith(b"\r\n\r\n" + parts[0])
    assert others == list(parts[1:])


def test_nothing_is_written_to_a_client_that_has_left() -> None:
    assert answered(whole, gone=True) == []
