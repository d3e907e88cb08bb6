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
from edge_s4op.errors import UsageError

__all__ = ["listen", "run", "url_of"]

_log = logging.getLogger("device_agent.server")

_GRACE_S = 1  # for requests under way when the agent is told to stop
_LAST_S = 4.0  # then the process ends, even if a thread is stuck in a library


class _Server(uvicorn.Server):
    """Calls `on_ready` once it listens and `on_stop` as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]):
        super().__init__(config)
        self._on_ready, self._on_stop = on_ready, on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


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
    """Serve until SIGTERM or SIGINT, then end within a few seconds, whatever runs."""
    config = uvicorn.Config(
        _ended_politely(create_app(agent)),
        log_config=None,
        access_log=agent.settings.access_log,
        timeout_graceful_shutdown=_GRACE_S,
        server_header=False,
    )

    def on_stop() -> None:
        agent.stop()
        _leave_after(_LAST_S)

    # uvicorn raises the signal it caught once more at the end: then it just ends the program.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _exit)
    _Server(config, on_ready, on_stop).run(sockets=[listener])


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
                await error_response(503, "the agent is stopping")(scope, receive, send)

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
