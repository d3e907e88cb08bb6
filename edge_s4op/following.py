"""A measurement followed by the agent's server-sent events."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx
from pydantic import ValidationError

from edge_s4op.events import events_of
from edge_s4op.messages import Job
from edge_s4op.transport import Transport

__all__ = ["NoEventsError", "followed"]

_SILENCE_S = 45.0  # an agent sends a comment every 15 s; longer silence is a lost connection
_GRACE_S = 2.0  # for the last event to arrive


class NoEventsError(Exception):
    """The agent offers no events, or something between sends others: ask it now and then instead."""


def followed(transport: Transport, path: str, max_s: float) -> Iterator[Job]:
    """The measurement at `path` whenever it changed, until it has ended, after `max_s`, or a lost connection.

    Nothing is repeated here: who follows asks for the state when this ends, and follows again. Raises
    NoEventsError.
    """
    http = transport.http
    params = {} if max_s == float("inf") else {"max_s": f"{max_s:.3f}"}
    headers = {"Accept": "text/event-stream"}
    with (
        contextlib.suppress(httpx.TransportError),
        http.stream(
            "GET", f"{path}/events", params=params, headers=headers, timeout=_timeout(http, max_s)
        ) as response,
    ):
        if response.status_code != 200 or not _is_stream(response):
            raise NoEventsError
        yield from _jobs_of(response)


def _jobs_of(response: httpx.Response) -> Iterator[Job]:
    try:
        for event in events_of(response.iter_bytes()):
            if event is not None and event.kind == "job":
                yield Job.model_validate_json(event.data)
    except (ValidationError, UnicodeDecodeError, httpx.DecodingError) as error:
        raise NoEventsError from error


def _timeout(http: httpx.Client, max_s: float) -> httpx.Timeout:
    """The client's own, but for the silence between two pieces."""
    own = http.timeout
    silence_s = min(_SILENCE_S, max_s + _GRACE_S)
    return httpx.Timeout(connect=own.connect, write=own.write, pool=own.pool, read=silence_s)


def _is_stream(response: httpx.Response) -> bool:
    kind = str(response.headers.get("Content-Type", ""))
    return kind.partition(";")[0].strip() == "text/event-stream"
