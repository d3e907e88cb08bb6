"""/v2/models/{name}/stream: a stream over a WebSocket. /v1/streams: all streams of this agent."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import anyio
from fastapi import APIRouter
from fastapi.responses import Response
from starlette.websockets import WebSocket

from device_agent.agent import Agent
from device_agent.errors import RequestError, error_response
from device_agent.routes_device import TheAgent
from device_agent.stream_frames import options_of
from device_agent.stream_model import ServedStream
from device_agent.stream_socket import StreamSocket, ending_of
from device_agent.streams import Ending
from edge_s4op.errors import S4opError
from edge_s4op.messages import StreamInfo

__all__ = ["router"]

router = APIRouter()

_log = logging.getLogger("device_agent.streams")

_CLOSE_S = 1.0  # how long a client that does not read may delay the end
_MAX_REASON_BYTES = 123  # RFC 6455, 5.5: a control frame has 125 bytes, two of them the code
_DELETED = Ending(4410, "ended by DELETE /v1/streams")


@router.websocket("/v2/models/{name}/stream")
async def stream(websocket: WebSocket, name: str) -> None:
    """Push samples, get the running prediction (docs/streaming.md)."""
    await websocket.accept()
    try:
        ending = await _streamed(websocket, name)
    except S4opError as error:
        ending = ending_of(error)
    except Exception as error:
        _log.exception("stream of model %s: unexpected", name)
        ending = Ending(1011, f"internal error ({type(error).__name__}); the agent's log has the details")
    if ending is not None:
        await _close(websocket, name, ending)


@router.get("/v2/models/{name}/stream", include_in_schema=False)
def no_stream(name: str) -> Response:
    """426: this address speaks WebSocket."""
    text = f"/v2/models/{name}/stream is a WebSocket; connect with ws:// in place of http://"
    return error_response(426, text, {"Upgrade": "websocket", "Connection": "Upgrade"})


@router.get("/v1/streams")
def streams(agent: TheAgent) -> list[StreamInfo]:
    """Open streams: WebSockets, and sequences of inference requests."""
    return agent.streams.all()


@router.delete("/v1/streams/{stream_id}", status_code=204)
def end_stream(agent: TheAgent, stream_id: str) -> None:
    """End a stream and free its state: its WebSocket is closed with 4410, a sequence must start anew."""
    agent.streams.end(stream_id, _DELETED)


async def _streamed(websocket: WebSocket, name: str) -> Ending | None:
    agent: Agent = websocket.app.state.agent
    _check_origin(websocket)
    options = options_of(websocket.query_params.multi_items())
    model = ServedStream(agent.serving, name)
    limiter = websocket.app.state.limiters.tensors
    return await StreamSocket(websocket, model, agent.streams, options, limiter).run()


def _check_origin(websocket: WebSocket) -> None:
    """Browsers let any page connect anywhere, and say which it is: only the agent's own may."""
    origin, host = websocket.headers.get("origin"), websocket.headers.get("host")
    if origin is not None and urlsplit(origin).netloc != host:
        what = f"pages of {origin:.40} may not stream here"
        raise RequestError(what, status_code=403, expected=f"an Origin of {host}")


async def _close(websocket: WebSocket, name: str, ending: Ending) -> None:
    if ending.code != 1000:
        _log.info("stream of model %s: closed with %d: %s", name, ending.code, ending.why)
    with anyio.move_on_after(_CLOSE_S):
        try:
            await websocket.close(ending.code, _shortened(ending.why))
        except (RuntimeError, OSError):  # the client was quicker
            _log.debug("stream of model %s: the client closed it meanwhile", name)


def _shortened(text: str) -> str:
    """As much of `text` as a close frame holds."""
    content = text.encode(errors="backslashreplace")
    if len(content) <= _MAX_REASON_BYTES:
        return content.decode()
    return content[: _MAX_REASON_BYTES - 3].decode(errors="ignore") + "..."
