"""An answer's head and body in one write.

uvicorn writes them one after the other, and uvloop sends what is written at once: two system calls, two
packets, and a client that is woken for the head and finds no body.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as HTTPProtocol
except ImportError:  # it serves without httptools, too: the same interface, but no common base for mypy
    from uvicorn.protocols.http.h11_impl import H11Protocol as HTTPProtocol  # type: ignore[assignment]

__all__ = ["OneWriteProtocol"]


class OneWriteProtocol(HTTPProtocol):
    """uvicorn's protocol, on a transport that sends once a turn of the event loop."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        joined = _OneWrite(cast(asyncio.Transport, transport), self.loop)
        super().connection_made(cast(asyncio.Transport, joined))

    def on_response_complete(self) -> None:
        cast(_OneWrite, self.transport).flush()
        super().on_response_complete()


class _OneWrite:
    """A transport that keeps what is written until the event loop's next turn, or until `flush`."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._kept: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it with what else is written in this turn."""
        if data:
            if not self._kept:
                self._loop.call_soon(self.flush)
            self._kept.append(data)

    def flush(self) -> None:
        """Send now what is kept."""
        kept, self._kept = self._kept, []
        if kept and not self._transport.is_closing():
            self._transport.writelines(kept)

    def close(self) -> None:
        """Close the connection once all is sent."""
        self.flush()
        self._transport.close()
