"""The streams whose states this agent keeps: bounded in number and memory, expiring, visible."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from device_agent.errors import RequestError, busy_error, not_found_error
from edge_s4op.messages import StreamInfo
from edge_s4op.runtime.streaming import StreamState

__all__ = ["Ending", "Stream", "Streams"]


@dataclass(frozen=True)
class Ending:
    """Why the agent ends a stream, and the WebSocket close code that says so."""

    code: int
    why: str


@dataclass(eq=False)
class Stream:
    """One stream. Its state is moved by whoever pushes to it, one push after the other.

    `on_end` is called, from any thread, once the agent ends the stream; nothing is pushed to it afterwards.
    """

    id: str
    model: str
    artifact_sha256: str  # of the file whose state it is
    kind: Literal["websocket", "sequence"]
    state: StreamState
    opened_s: float
    used_s: float
    sequence_id: int | str | None = None
    on_end: Callable[[], None] | None = None
    ending: Ending | None = None
    is_busy: bool = False  # samples of it wait or run


class Streams:
    """Every open stream. For several threads.

    At most `limit` of them, their states of at most `limit_bytes` together (states of pushes under way come
    on top). A sequence without samples for `idle_s` is forgotten; a WebSocket's handler watches itself.
    """

    def __init__(
        self, limit: int, limit_bytes: int, idle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._limit_bytes, self._clock = limit, limit_bytes, clock
        self.idle_s = idle_s
        self._lock = threading.Lock()
        self._streams: dict[str, Stream] = {}
        self._sequences: dict[tuple[str, int | str], Stream] = {}
        self._ending: Ending | None = None

    @property
    def count(self) -> int:
        """Open streams."""
        return self.totals()[0]

    @property
    def state_bytes(self) -> int:
        """Bytes that their states take."""
        return self.totals()[1]

    def totals(self) -> tuple[int, int]:
        """How many streams are open, and the bytes that their states take."""
        self.expire()
        with self._lock:
            return len(self._streams), self._bytes()

    def open(
        self,
        model: str,
        artifact_sha256: str,
        state: StreamState,
        *,
        sequence_id: int | str | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> Stream:
        """A new stream, a sequence if it has a `sequence_id`; one of the same id takes its place.

        Raises RequestError 503: no room for one more (with Retry-After where room can come), or the agent
        stops.
        """
        self.expire()
        now = self._clock()
        kind: Literal["websocket", "sequence"] = "websocket" if sequence_id is None else "sequence"
        stream = Stream(
            secrets.token_hex(8), model, artifact_sha256, kind, state, now, now, sequence_id, on_end
        )
        with self._lock:
            if self._ending is not None:
                raise RequestError(self._ending.why, status_code=503, retry_after_s=1)
            if sequence_id is not None:
                self._forget(self._sequences.get((model, sequence_id)))
            self._check_room(state.nbytes)
            self._streams[stream.id] = stream
            if sequence_id is not None:
                self._sequences[model, sequence_id] = stream
        return stream

    def find(self, model: str, sequence_id: int | str) -> Stream | None:
        """The sequence of that id, if it is under way."""
        self.expire()
        with self._lock:
            return self._sequences.get((model, sequence_id))

    def begin(self, stream: Stream) -> None:
        """Samples of it wait or run from now on: it does not expire."""
        stream.is_busy = True

    def move(self, stream: Stream, state: StreamState) -> None:
        """Its samples have run: this is where it stands now."""
        stream.state, stream.used_s, stream.is_busy = state, self._clock(), False

    def fail(self, stream: Stream) -> None:
        """Its samples have not run: it stands where it stood."""
        stream.used_s, stream.is_busy = self._clock(), False

    def close(self, stream: Stream) -> None:
        """Forget it; nothing if that is done already."""
        with self._lock:
            self._forget(stream)

    def end(self, stream_id: str, ending: Ending) -> None:
        """End a stream from outside. Raises RequestError 404."""
        self.expire()
        with self._lock:
            stream = self._streams.get(stream_id)
        if stream is None:
            raise not_found_error(f"no stream {stream_id!r} is open here", fix="GET /v1/streams lists them")
        self._end(stream, ending)

    def end_all(self, ending: Ending) -> None:
        """End every stream, and open no more."""
        with self._lock:
            self._ending, streams = ending, list(self._streams.values())
        for stream in streams:
            self._end(stream, ending)

    def all(self) -> list[StreamInfo]:
        """What is open, the oldest first."""
        self.expire()
        now = self._clock()
        with self._lock:
            return [_info(stream, now) for stream in self._streams.values()]

    def expire(self) -> bool:
        """Forget sequences that are idle for too long; whether any sequence is left."""
        now = self._clock()
        with self._lock:
            for stream in list(self._sequences.values()):
                if not stream.is_busy and now - stream.used_s >= self.idle_s:
                    self._forget(stream)
            return bool(self._sequences)

    def _end(self, stream: Stream, ending: Ending) -> None:
        stream.ending = ending
        self.close(stream)
        if stream.on_end is not None:
            stream.on_end()

    def _forget(self, stream: Stream | None) -> None:
        if stream is None or self._streams.pop(stream.id, None) is None:
            return
        if stream.sequence_id is not None:
            del self._sequences[stream.model, stream.sequence_id]

    def _check_room(self, more_bytes: int) -> None:
        if more_bytes > self._limit_bytes:
            raise RequestError(
                "a state of this model does not fit into the memory for streams",
                status_code=503,
                expected=f"at most {self._limit_bytes} bytes",
                found=more_bytes,
                fix="start the agent with more --stream-state-bytes",
            )
        if len(self._streams) >= self._limit:
            what = f"{len(self._streams)} streams are open, and more are not allowed"
            raise busy_error(what, self._room_in_s())
        if self._bytes() + more_bytes > self._limit_bytes:
            what = f"the states of open streams take {self._bytes()} of {self._limit_bytes} bytes"
            raise busy_error(what, self._room_in_s())

    def _room_in_s(self) -> float | None:
        """When the next sequence expires, if its client is silent from now on."""
        ends = [stream.used_s + self.idle_s for stream in self._sequences.values()]
        return max(min(ends) - self._clock(), 0.0) if ends else None

    def _bytes(self) -> int:
        return sum(stream.state.nbytes for stream in self._streams.values())


def _info(stream: Stream, now: float) -> StreamInfo:
    return StreamInfo(
        id=stream.id,
        model=stream.model,
        kind=stream.kind,
        sequence_id=stream.sequence_id,
        samples=stream.state.samples,
        age_s=max(now - stream.opened_s, 0.0),
        idle_s=max(now - stream.used_s, 0.0),
        state_bytes=stream.state.nbytes,
    )
