"""Request bodies: bounded in size and silence, read whatever Content-Type says, validated."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import anyio
from anyio import from_thread
from fastapi import Request
from pydantic import BaseModel, ValidationError

from device_agent.errors import RequestError, busy_error, validation_sentence

__all__ = ["BODY_KIND", "Body", "BodyRoom", "json_body", "read_body"]

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


class BodyRoom:
    """How many bytes of inference bodies the agent holds at once. Used on the event loop only.

    Bodies up to `FREE_BYTES` are not counted: connections bound them well enough.
    """

    FREE_BYTES = 1 << 16

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes, self._taken_bytes = limit_bytes, 0

    @property
    def taken_bytes(self) -> int:
        """What is held now."""
        return self._taken_bytes

    @contextlib.contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """For one request: yields what `read_body` tells the body's size; given back at the end.

        That raises RequestError 503 with Retry-After where others leave no room; a body alone always fits.
        """
        mine = 0

        def grow_to(size_bytes: int) -> None:
            nonlocal mine
            if size_bytes <= max(mine, self.FREE_BYTES):
                return
            others = self._taken_bytes - mine
            if others and others + size_bytes > self._limit_bytes:
                raise busy_error(f"bodies of other requests fill the {self._limit_bytes} bytes kept for them")
            self._taken_bytes, mine = others + size_bytes, size_bytes

        try:
            yield grow_to
        finally:
            self._taken_bytes -= mine


async def read_body(
    request: Request, limit_bytes: int, grow_to: Callable[[int], None] | None = None
) -> bytes:
    """The whole body. `grow_to` is told its size, the announced one first, and may raise.

    Raises RequestError 408, 413.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal():
        _check_size(int(announced), limit_bytes)
        if grow_to is not None:
            grow_to(int(announced))
    pieces, size_bytes = [], 0
    with _Silence(_IDLE_S) as silence:
        async for piece in request.stream():
            pieces.append(piece)
            size_bytes += len(piece)
            _check_size(size_bytes, limit_bytes)
            if grow_to is not None:
                grow_to(size_bytes)
            silence.broken()
    return b"".join(pieces)


class _Silence:
    """Ends a block with RequestError 408 when `limit_s` have passed since `broken()`.

    A scope of anyio does the same in ten times the time (20 us), and every inference comes this way.
    """

    __slots__ = ("_broken_at", "_ended", "_limit_s", "_loop", "_task", "_timer")

    def __init__(self, limit_s: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._loop, self._limit_s, self._ended = task, asyncio.get_running_loop(), limit_s, False

    def __enter__(self) -> _Silence:
        self.broken()
        self._timer = self._loop.call_later(self._limit_s, self._look)
        return self

    def broken(self) -> None:
        """Something came."""
        self._broken_at = self._loop.time()

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        self._timer.cancel()
        if not self._ended:
            return
        # Since Python 3.11 a task counts who wants it to end: there may be others.
        uncancel: Callable[[], int] | None = getattr(self._task, "uncancel", None)
        others = uncancel() if uncancel is not None else 0
        if kind is asyncio.CancelledError and not others:
            raise _silent(self._limit_s) from None

    def _look(self) -> None:
        left_s = self._broken_at + self._limit_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self._ended = True
            self._task.cancel()


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
