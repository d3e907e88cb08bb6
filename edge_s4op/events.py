"""Server-sent events, read from the pieces of a response.

An event is lines "field: value" up to an empty line; lines that begin with ":" are comments. Fields beside
`event` and `data` are passed over. WHATWG HTML standard, section 9.2.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["ServerSentEvent", "events_of", "lines_of"]


@dataclass(frozen=True)
class ServerSentEvent:
    """One event: its kind ("message" where none is named) and its data, lines joined by newlines."""

    kind: str
    data: str


def events_of(pieces: Iterable[bytes]) -> Iterator[ServerSentEvent | None]:
    """Events as they arrive; None for every comment, which says that the sender lives.

    An event that the end of the stream cuts off is dropped. Raises UnicodeDecodeError.
    """
    kind, data = "", list[str]()
    for line in lines_of(pieces):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line.startswith(":"):
            yield None
        elif not line:
            if data:
                yield ServerSentEvent(kind or "message", "\n".join(data))
            kind, data = "", []
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)


def lines_of(pieces: Iterable[bytes]) -> Iterator[str]:
    """Whole lines without their ends: LF, or CR LF. str.splitlines would also cut inside JSON, at U+2028."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode()
