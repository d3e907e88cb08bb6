"""A line for a request, with its id, and the id in the answer.

`X-Request-Id` of the request is kept where it is one word of up to 128 visible ASCII characters; otherwise
one is made. Under /v1 what changes something or fails is logged at level info. The access log, off unless
the setting `access_log` is on, has a line for every request.
"""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["REQUEST_ID", "RequestLog"]

REQUEST_ID = "s4op.request_id"  # key in the scope

_log = logging.getLogger("device_agent.requests")
_HEADER = b"x-request-id"
_ID = re.compile(rb"[\x21-\x7e]{1,128}")
# Of ids made here, eight characters differ by process and eight count: drawing sixteen took 8 us a request.
_OURS, _count = secrets.token_hex(4).encode(), itertools.count()
_READING = ("GET", "HEAD", "OPTIONS")


class RequestLog:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, access_log: bool = False) -> None:
        self._app, self._access_log = app, access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, begun = _id_of(scope), time.perf_counter()
        scope[REQUEST_ID] = request_id.decode()
        status = 500  # of what ends without an answer

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (_HEADER, request_id)]}
            await send(message)

        try:
            await self._app(scope, receive, with_id)
        finally:
            if self._is_worth_a_line(scope, status):
                _log.info("%s", _line(scope, status, time.perf_counter() - begun))

    def _is_worth_a_line(self, scope: Scope, status: int) -> bool:
        """Those who look on ask every second or two: their reading is no news."""
        is_news = scope["method"] not in _READING or status >= 400
        return self._access_log or (is_news and scope["path"].startswith("/v1/"))


def _id_of(scope: Scope) -> bytes:
    given: bytes = next((value for name, value in scope["headers"] if name == _HEADER), b"")
    return given if _ID.fullmatch(given) else b"%s%08x" % (_OURS, next(_count))


def _line(scope: Scope, status: int, took_s: float) -> str:
    path = scope["path"].encode("unicode_escape").decode()  # a line end in a path must not end the line
    client = scope["client"][0] if scope.get("client") else "-"
    took = f"{took_s * 1000:.1f} ms"
    return f"{client} {scope['method']} {path} -> {status} in {took}, request {scope[REQUEST_ID]}"
