"""Triton's sequences: inference requests that name a sequence share a state, which the agent keeps."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from device_agent.errors import RequestError, busy_error
from device_agent.scheduler import Answered, Wanted
from device_agent.serving import Serving
from device_agent.stream_model import ServedStream
from device_agent.streams import Stream, Streams
from device_agent.v2.parameters import Sequence
from edge_s4op.errors import BadInferenceInputError
from edge_s4op.runtime import Array
from edge_s4op.runtime.streaming import SAMPLES

__all__ = ["Sequences"]

_Key = tuple[str, "int | str"]


@dataclass
class _Turns:
    """Who waits for one sequence: first come, first served."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Sequences:
    """Requests of sequences: `sequence_id`, `sequence_start`, `sequence_end`. For one event loop."""

    def __init__(self, serving: Serving, streams: Streams) -> None:
        self._serving, self._streams = serving, streams
        self._turns: dict[_Key, _Turns] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def infer(self, name: str, sequence: Sequence, wanted: Wanted) -> Answered:
        """Push `wanted.feeds["input"]` (B, T, ...) to a sequence of model `name`: all outputs, with states.

        Requests of one sequence run in the order of coming, however urgent they are: `wanted.priority` is
        among those of the model. `wanted.timeout_s` counts from the request's coming. `start` begins the
        sequence anew, whatever there was; a failed start leaves no sequence, any other failed request the
        sequence where it was. Without an id (0, "") the request is a whole sequence.

        Raises RequestError 400 (not started, or ended; Triton's words), 503 (no room, busy, waited too
        long), BadInferenceInputError, UsageError (the model keeps no state), UnknownModelError.
        """
        deadline = _Deadline(wanted.timeout_s)
        model = ServedStream(self._serving, name)
        samples = _samples_of(wanted.feeds)
        model.check(samples)
        if sequence.identity in (0, ""):
            state = model.model.new_state(len(samples))
            return (await model.push(state, samples, wanted.priority, wanted.timeout_s))[0]
        async with self._turn((name, sequence.identity), deadline):
            if sequence.start:
                stream = self._started(model, sequence.identity, len(samples))
            else:
                stream = self._known(model, sequence.identity)
            try:
                answered = await self._pushed(model, stream, samples, wanted.priority, deadline)
            except BaseException:
                if sequence.start:
                    self._streams.close(stream)
                raise
            if sequence.end:
                self._streams.close(stream)
            return answered

    def _started(self, model: ServedStream, sequence_id: int | str, rows: int) -> Stream:
        self._expire_in_time()
        state = model.model.new_state(rows)
        return self._streams.open(model.name, model.artifact_sha256, state, sequence_id=sequence_id)

    def _known(self, model: ServedStream, sequence_id: int | str) -> Stream:
        stream = self._streams.find(model.name, sequence_id)
        if stream is not None and stream.artifact_sha256 != model.artifact_sha256:
            self._streams.close(stream)  # another file is served now, which its state is of no use to
            stream = None
        if stream is None:
            raise RequestError(
                f"inference request for sequence {sequence_id} to model '{model.name}' must specify the "
                "START flag on the first request of the sequence",
                status_code=400,
            )
        return stream

    async def _pushed(
        self, model: ServedStream, stream: Stream, samples: Array, priority: int, deadline: _Deadline
    ) -> Answered:
        self._streams.begin(stream)
        try:
            answered, state = await model.push(stream.state, samples, priority, deadline.remaining_s())
        except BaseException:
            self._streams.fail(stream)
            raise
        self._streams.move(stream, state)
        return answered

    @contextlib.asynccontextmanager
    async def _turn(self, key: _Key, deadline: _Deadline) -> AsyncIterator[None]:
        """Until the requests of the same sequence that came before are answered. Raises RequestError 503."""
        turns = self._turns.setdefault(key, _Turns())
        turns.users += 1
        try:
            try:
                await asyncio.wait_for(turns.lock.acquire(), deadline.remaining_s())
            except asyncio.TimeoutError:
                what = f"model {key[0]!r}: the request timed out behind others of sequence {key[1]}"
                raise busy_error(what) from None
            try:
                yield
            finally:
                turns.lock.release()
        finally:
            turns.users -= 1
            if turns.users == 0:
                del self._turns[key]

    def _expire_in_time(self) -> None:
        """Idle sequences give their memory back even if nobody asks for anything any more."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._streams.idle_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._streams.expire():
            self._expire_in_time()


class _Deadline:
    """When a request has waited too long; `timeout_s` None: never."""

    def __init__(self, timeout_s: float | None) -> None:
        self._at = None if timeout_s is None else time.monotonic() + timeout_s

    def remaining_s(self) -> float | None:
        return None if self._at is None else max(self._at - time.monotonic(), 0.0)


def _samples_of(feeds: Mapping[str, Array]) -> Array:
    if set(feeds) != {SAMPLES}:
        raise BadInferenceInputError(
            "a sequence takes samples alone: the agent keeps its states",
            expected=f"the input {SAMPLES!r}",
            found=", ".join(feeds),
        )
    return feeds[SAMPLES]
