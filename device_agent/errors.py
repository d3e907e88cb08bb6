"""From errors to HTTP: every failure leaves the agent as {"error": "one line"}."""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from device_agent.request_log import REQUEST_ID
from edge_s4op.errors import (
    ArtifactError,
    BadInferenceInputError,
    BuildError,
    S4opError,
    StorageError,
    UnknownModelError,
    UsageError,
)

__all__ = [
    "RequestError",
    "busy_error",
    "error_response",
    "expected_answer",
    "install_error_handlers",
    "log_build",
    "not_found_error",
    "on_unexpected",
    "one_line",
    "sentence_of",
    "status_of",
    "validation_sentence",
]

_log = logging.getLogger("device_agent")

_STATUS: tuple[tuple[type[S4opError], int], ...] = (
    (UsageError, 400),
    (ArtifactError, 400),
    (BadInferenceInputError, 400),
    (UnknownModelError, 404),
)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RequestError(S4opError):
    """A request that cannot be granted, with its HTTP status."""

    def __init__(
        self,
        what: str,
        *,
        status_code: int,
        retry_after_s: int | None = None,
        expected: object | None = None,
        found: object | None = None,
        fix: str | None = None,
    ) -> None:
        self.status_code, self.retry_after_s = status_code, retry_after_s
        super().__init__(what, expected=expected, found=found, fix=fix)


def not_found_error(what: str, fix: str | None = None) -> RequestError:
    """404."""
    return RequestError(what, status_code=404, fix=fix)


def busy_error(what: str, remaining_s: float | None = None) -> RequestError:
    """503 that asks to come back after `remaining_s`; in a second where that is unknown."""
    retry_after_s = max(1, math.ceil(remaining_s or 0.0))
    again = "try again" if remaining_s is None else f"try again in {retry_after_s} s"
    return RequestError(what, status_code=503, retry_after_s=retry_after_s, fix=again)


def status_of(error: S4opError) -> int:
    """The HTTP status an error is answered with; 500 for what is our own failure."""
    if isinstance(error, RequestError):
        return error.status_code
    if isinstance(error, BuildError):  # "refused" is about the file, the rest about this device
        return 400 if error.reason == "refused" else 500
    if isinstance(error, StorageError):
        cause = error.__cause__
        full = getattr(cause, "errno", None) in _NO_SPACE or "disk is full" in str(cause)
        return 507 if full else 500
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def one_line(text: str) -> str:
    """`text` with every run of blanks and line ends as one blank."""
    return " ".join(text.split())


def sentence_of(error: Exception) -> str:
    """An error as one line; of one nobody expected also its kind, since its text may say little."""
    text = str(error) if isinstance(error, S4opError) else f"{type(error).__name__}: {error}"
    return one_line(text)


def log_build(error: Exception) -> None:
    """Write the last lines of a builder that failed to the agent's log."""
    for line in error.log if isinstance(error, BuildError) else ():
        _log.warning("builder: %s", line)


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The one form in which errors leave the agent."""
    sendable = text.encode(errors="backslashreplace").decode()  # requests can hold lone surrogates
    return JSONResponse({"error": one_line(sendable)}, status_code=status, headers=dict(headers or {}))


def validation_sentence(errors: Iterable[Mapping[str, Any]]) -> str:
    """The first thing wrong with a request, with the field it is wrong in."""
    problem = next(iter(errors))
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


def install_error_handlers(app: FastAPI) -> None:
    """Answer every exception in our form; what nobody expected is logged with its traceback."""
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(Exception, on_unexpected)


async def expected_answer(request: Request, error: Exception) -> Response:
    """The answer these handlers give, without FastAPI; raises what nobody expected."""
    for kind, answer in _ANSWERS.items():
        if isinstance(error, kind):
            return await answer(request, error)
    raise error


async def _on_expected(request: Request, error: Exception) -> Response:
    assert isinstance(error, S4opError)
    status = status_of(error)
    if status >= 500 and status != 503:
        _log.error("%s %s -> %d: %s", request.method, request.url.path, status, error)
    retry_after_s = getattr(error, "retry_after_s", None)
    return error_response(status, str(error), {"Retry-After": str(retry_after_s)} if retry_after_s else None)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"{error.detail}: {request.method} {request.url.path}"
    return error_response(error.status_code, text, error.headers)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_response(400, validation_sentence(error.errors()))


async def _on_disconnect(request: Request, error: Exception) -> Response:
    _log.info("%s %s: the client went away", request.method, request.url.path)
    return error_response(400, "the request ended before its body did")


async def on_unexpected(request: Request, error: Exception) -> Response:
    """500, for Starlette's ServerErrorMiddleware."""
    # Starlette raises the exception again after this answer, and the server logs its traceback.
    _log.error("%s %s -> 500: unexpected %r", request.method, request.url.path, error)
    text = f"internal error ({type(error).__name__}); the agent's log has the details"
    # This answer is sent outside the middleware that adds the id to all others.
    return error_response(500, text, {"X-Request-Id": request.scope.get(REQUEST_ID, "unknown")})


_ANSWERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    S4opError: _on_expected,
    HTTPException: _on_http,
    RequestValidationError: _on_validation,
    ClientDisconnect: _on_disconnect,
}
