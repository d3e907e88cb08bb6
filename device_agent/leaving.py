"""Clients that leave before they have their answer."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TypeVar

from starlette.requests import Request

from device_agent.errors import RequestError

__all__ = ["answer_unless_left"]

T = TypeVar("T")

_LOOKS_AFTER_S = 0.05  # most have their answer by then, and need nobody to look
_LEFT = 499  # nobody reads it but the log; the status other servers note for this


async def answer_unless_left(request: Request, submitted: Future[T]) -> T:
    """The answer to a request whose body is read. Where the client leaves first, the request is cancelled.

    Raises what `submitted` fails with; RequestError 499: the client has left.
    """
    answer, watcher = asyncio.wrap_future(submitted), _Watcher(request)
    timer = asyncio.get_running_loop().call_later(_LOOKS_AFTER_S, watcher.start, answer)
    try:
        return await answer
    except asyncio.CancelledError:
        if watcher.has_left:
            raise RequestError("the client has left", status_code=_LEFT) from None
        raise
    finally:
        timer.cancel()
        watcher.stop()


class _Watcher:
    """Cancels a future once the client of a request is gone."""

    def __init__(self, request: Request) -> None:
        self._request, self.has_left = request, False
        self._task: asyncio.Future[None] | None = None

    def start(self, answer: asyncio.Future[T]) -> None:
        self._task = asyncio.ensure_future(self._watch(answer))

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _watch(self, answer: asyncio.Future[T]) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.has_left = not answer.done()
        answer.cancel()
