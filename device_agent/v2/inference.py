"""POST /v2/models/{name}/infer: from a request's bytes to the answer's, the model in between.

`InferFirst` keeps these requests from FastAPI: its routing and its layers take as long as a small model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from device_agent.agent import Agent
from device_agent.bodies import read_body
from device_agent.errors import expected_answer
from device_agent.leaving import answer_unless_left
from device_agent.scheduler import Answered, Wanted
from device_agent.served import Served
from device_agent.v2.answer import Body, answer_to
from device_agent.v2.compression import accepted_encoding, compressed, decompressed
from device_agent.v2.names import check_version
from device_agent.v2.parameters import Sequence
from device_agent.v2.request import InferRequest, read_request
from edge_s4op.artifact import Manifest
from edge_s4op.runtime.streaming import SAMPLES
from edge_s4op.tensors_binary import HEADER_LENGTH, header_length_of

__all__ = ["InferFirst", "inference"]

T = TypeVar("T")

# More than this is read and written in a thread: it would keep every other request waiting, 64 KiB of
# JSON for about 1 ms.
_LARGE_BYTES = 1 << 16


@dataclass(frozen=True)
class _Headers:
    """Those headers of a request that matter here, as they came."""

    header_length: tuple[str, ...]
    content_encoding: str
    accept_encoding: str


_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


class InferFirst:
    """ASGI: requests to infer go to `direct`, the others to `rest`."""

    def __init__(self, direct: ASGIApp, rest: ASGIApp) -> None:
        self._direct, self._rest = direct, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_direct = scope["type"] == "http" and _PATH.fullmatch(scope["path"])
        await (self._direct if is_direct else self._rest)(scope, receive, send)


async def inference(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI: answer a request to infer; errors nobody expected are raised."""
    request = Request(scope, receive)
    try:
        response = await _infer(request)
    except Exception as error:
        response = await expected_answer(request, error)
    await response(scope, receive, send)


async def _infer(request: Request) -> Response:
    """Run one batch."""
    if request.method != "POST":
        raise HTTPException(405, headers={"Allow": "POST"})
    agent: Agent = request.app.state.agent
    path = _PATH.fullmatch(request.scope["path"])
    assert path is not None
    check_version(path[2] or "1")
    served = agent.serving.model(path[1])
    served.refuse_if_full()
    headers = _headers_of(request)
    with agent.body_room.share() as grow_to:
        content = await read_body(request, agent.settings.max_body_bytes, grow_to)
        large = len(content) > _LARGE_BYTES or headers.content_encoding != ""
        read = partial(_read, content, headers, served.manifest, agent.settings.max_body_bytes)
        wanted = await _in_thread(request, read) if large else read()
        answered = await _answered(agent, served, wanted, request)
    large = sum(array.nbytes for array in answered.outputs.values()) > _LARGE_BYTES
    write = partial(_response, wanted, served, answered, headers.accept_encoding)
    return await _in_thread(request, write) if large else write()


async def _answered(agent: Agent, served: Served, request: InferRequest, client: Request) -> Answered:
    parameters = request.parameters
    sequence = parameters.sequence
    if sequence is None and served.manifest.streaming is not None and set(request.feeds) == {SAMPLES}:
        sequence = Sequence(0, start=True, end=True)  # no states given: the samples are all there are
    wanted = Wanted(request.feeds, parameters.priority, parameters.timeout_s)
    if sequence is None:
        return await answer_unless_left(client, served.submit(wanted))
    return await agent.sequences.infer(served.name, sequence, wanted)


def _headers_of(request: Request) -> _Headers:
    found: dict[bytes, list[str]] = {}
    for key, value in request.scope["headers"]:
        if key in _WATCHED:
            found.setdefault(key, []).append(value.decode("latin-1").strip())
    length, content, accept = (found.get(key, []) for key in _WATCHED)
    return _Headers(tuple(length), ", ".join(content).lower(), ", ".join(accept))


_WATCHED = (HEADER_LENGTH.lower().encode(), b"content-encoding", b"accept-encoding")


def _read(content: bytes, headers: _Headers, manifest: Manifest, limit_bytes: int) -> InferRequest:
    plain = decompressed(content, headers.content_encoding, limit_bytes)
    return read_request(plain, header_length_of(headers.header_length, len(plain)), manifest)


def _response(request: InferRequest, served: Served, answered: Answered, accept_encoding: str) -> Response:
    body = answer_to(request, served.name, served.manifest, answered.outputs, answered.variant)
    headers = {} if answered.variant is None else {"s4op-variant": answered.variant}
    kind = "application/json"
    if body.header_length is not None:
        kind, headers[HEADER_LENGTH] = "application/octet-stream", str(body.header_length)
    return Response(_encoded(body, accept_encoding, headers), headers=headers, media_type=kind)


def _encoded(body: Body, accept_encoding: str, headers: dict[str, str]) -> bytes:
    """The body as it goes out, and in `headers` how it is encoded."""
    encoding = accepted_encoding(accept_encoding) if accept_encoding else None
    short = None if encoding is None else compressed(body.content, encoding)
    if encoding is None or short is None:
        return body.content
    headers["Content-Encoding"] = encoding
    return short


async def _in_thread(request: Request, work: partial[T]) -> T:
    return await to_thread.run_sync(work, limiter=request.app.state.limiters.tensors)
