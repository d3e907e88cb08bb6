"""Request bodies: bounded in size and silence, read whatever Content-Type says, validated."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import anyio
from anyio import from_thread
from fastapi import Request
from pydantic import BaseModel, ValidationError

from device_agent.errors import RequestError, validation_sentence

__all__ = ["BODY_KIND", "Body", "json_body", "read_body"]

M = TypeVar("M", bound=BaseModel)

_MAX_MESSAGE_BYTES = 1 << 20  # of a /v1 message; they are a few hundred bytes
_IDLE_S = 30.0
BODY_KIND = "body_kind"  # attribute of what `json_body` makes: the message it reads


class Body:
    """A request's body, piece by piece. Raises RequestError: 413 too large, 408 silent too long."""

    def __init__(self, request: Request, limit_bytes: int, idle_s: float = _IDLE_S) -> None:
        self._announced = request.headers.get("content-length", "")
        self._stream = request.stream().__aiter__()
        self._limit_bytes, self._idle_s = limit_bytes, idle_s
        self._size_bytes = 0

    async def next(self) -> bytes:
        """The next piece that is not empty; b"" at the end."""
        if self._announced.isdecimal():
            _check_size(int(self._announced), self._limit_bytes)
        piece = await self._receive()
        self._size_bytes += len(piece)
        _check_size(self._size_bytes, self._limit_bytes)
        return piece

    def pieces(self) -> Iterator[bytes]:
        """The same for a worker thread that anyio started."""
        while piece := from_thread.run(self.next):
            yield piece

    async def _receive(self) -> bytes:
        with anyio.move_on_after(self._idle_s):
            async for piece in self._stream:
                if piece:
                    return piece
            return b""
        raise _silent(self._idle_s)


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises RequestError 408, 413.

    The way of every inference: one timer for all pieces, where Body takes one for each (20 us).
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal():
        _check_size(int(announced), limit_bytes)
    pieces, size_bytes = [], 0
    with anyio.move_on_after(_IDLE_S) as silence:
        async for piece in request.stream():
            pieces.append(piece)
            size_bytes += len(piece)
            _check_size(size_bytes, limit_bytes)
            silence.deadline = anyio.current_time() + _IDLE_S
        return b"".join(pieces)
    raise _silent(_IDLE_S)


def _check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise RequestError(f"the body is larger than the {limit_bytes} bytes allowed here", status_code=413)


def _silent(idle_s: float) -> RequestError:
    return RequestError(f"the request's body was silent for {idle_s:g} s", status_code=408)


def json_body(kind: type[M]) -> Callable[[Request], Coroutine[Any, Any, M]]:
    """A dependency that reads the body as JSON of `kind`. It raises RequestError 400, 408, 413."""

    async def read(request: Request) -> M:
        content = await read_body(request, _MAX_MESSAGE_BYTES)
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            raise RequestError(
                f"the body is no {kind.__name__}: {validation_sentence(error.errors())}", status_code=400
            ) from error

    setattr(read, BODY_KIND, kind)  # FastAPI does not see it, /openapi.json is to tell it
    return read
