"""uvicorn around the application: own socket, an announcement once it listens, a prompt end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from device_agent.agent import Agent
from device_agent.app import create_app
from device_agent.errors import error_response
from device_agent.one_write import OneWriteProtocol
from device_agent.stream_frames import MAX_FRAME_BYTES
from edge_s4op.errors import UsageError

__all__ = ["listen", "run", "url_of"]

_log = logging.getLogger("device_agent.server")

_GRACE_S = 1  # for answers to be sent and bodies to arrive, once the queues are empty
_LAST_S = 5.0  # after that and the queues' time the process ends, even if a thread is stuck in a library


class _Server(uvicorn.Server):
    """Calls `on_ready` once it listens. Told to stop, it goes on answering until `drain` (on a thread) ends.

    A second signal ends the process at once.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], drain: Callable[[], None]):
        super().__init__(config)
        self._on_ready, self._drain = on_ready, drain
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self._is_told = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._loop = asyncio.get_running_loop()
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Between two bytecodes of the main thread, which may hold any lock: no more than a word to the loop.
        if self._is_told:
            os._exit(128 + sig)
        self._is_told = True
        if self._loop is None:  # not started yet
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._begin_to_stop)

    def _begin_to_stop(self) -> None:
        self._draining = asyncio.create_task(self._stop())

    async def _stop(self) -> None:
        try:
            await asyncio.to_thread(self._drain)
        finally:
            self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UsageError: port in use, unknown address, no permission."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The address to reach a listening socket from this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(agent: Agent, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; then answer what waits, within `drain_s`, and end soon, whatever runs.

    Meanwhile new inference requests get 503. uvicorn takes uvloop and httptools where they are installed.
    """
    config = uvicorn.Config(
        _ended_politely(create_app(agent)),
        http=OneWriteProtocol,
        log_config=None,
        access_log=False,  # ours has the requests' ids: request_log.py
        timeout_graceful_shutdown=_GRACE_S,
        server_header=False,
        ws_max_size=2 * MAX_FRAME_BYTES,  # what is larger is not even read
        ws_per_message_deflate=False,
    )

    def drain() -> None:
        _leave_after(agent.settings.drain_s + _GRACE_S + _LAST_S)
        agent.drain()

    # Before it listens, and while the agent is closed.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _exit)
    _Server(config, on_ready, drain).run(sockets=[listener])


def _ended_politely(app: ASGIApp) -> ASGIApp:
    """Answer requests that the end of the agent cuts off (stalled uploads) with 503, unless they have one."""

    async def polite(scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await app(scope, receive, noted)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            _log.info("%s %s: cut off, since the agent stops", scope["method"], scope["path"])
            if not started:
                answer = error_response(503, "the agent is stopping", {"Retry-After": "1"})
                await answer(scope, receive, send)

    return polite


def _leave_after(seconds: float) -> None:
    """End the process then. What is stored is in SQLite and in renamed files, so nothing can tear."""

    def leave() -> None:
        _log.warning("a run on the device does not end; leaving it")
        os._exit(0)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


def _exit(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _cannot_listen(host: str, port: int, error: OSError) -> UsageError:
    return UsageError(
        f"cannot listen on {host}:{port}: {error.strerror or error}",
        fix="choose another --port (0 takes a free one) or --host",
    )
