"""One stream over one WebSocket, from the first frame to the close code."""

from __future__ import annotations

import asyncio
from functools import partial

import anyio
import numpy as np
from anyio import CapacityLimiter, to_thread
from starlette.websockets import WebSocket, WebSocketDisconnect

from device_agent.errors import RequestError, sentence_of, status_of
from device_agent.scheduler import Answered
from device_agent.stream_frames import Frame, FrameError, Options, answer_of, frame_of
from device_agent.stream_model import ServedStream, logits_of
from device_agent.streams import Ending, Stream, Streams
from edge_s4op.errors import BadInferenceInputError, S4opError, UsageError
from edge_s4op.runtime import Array
from edge_s4op.runtime.streaming import StreamState

__all__ = ["StreamSocket", "ending_of"]

_LARGE_BYTES = 1 << 16  # more is read in a thread, since it would keep every other request waiting
_RETRY_S = 0.05  # how soon a push is tried again that found the queue full, or a measurement running


class StreamSocket:
    """An accepted WebSocket and the stream it pushes to.

    One frame at a time: the next is read once the answer is sent, so that a client that is too fast is held
    back by TCP. Reading, running and sending may take `streams.idle_s` each; a push that finds the queue
    full or the device being measured is tried again until then.
    """

    def __init__(
        self,
        websocket: WebSocket,
        model: ServedStream,
        streams: Streams,
        options: Options,
        limiter: CapacityLimiter,
    ) -> None:
        """Raises UsageError: an option the model cannot follow."""
        if options.normalise and not model.model.manifest.preprocessing.mean:
            raise UsageError(
                "normalise=1: this model file names no mean and deviation of its samples",
                fix="leave it out, and send samples as the model takes them",
            )
        self._websocket, self._model, self._streams = websocket, model, streams
        self._options, self._limiter = options, limiter
        self._scope = anyio.CancelScope()
        self._late = Ending(1001, "")
        self._is_reading = False
        self._logits: Array | None = None

    async def run(self) -> Ending | None:
        """Take frames until one ends the stream. None: the client has gone.

        Raises RequestError 503: there is no room for one more stream.
        """
        loop = asyncio.get_running_loop()

        def on_end() -> None:
            loop.call_soon_threadsafe(self._interrupt)

        stream = self._streams.open(
            self._model.name,
            self._model.artifact_sha256,
            self._model.model.new_state(),
            on_end=on_end,
        )
        try:
            with self._scope:
                return await self._converse(stream)
        finally:
            self._streams.close(stream)
        return stream.ending or self._late

    async def _converse(self, stream: Stream) -> Ending | None:
        try:
            while stream.ending is None:
                message = await self._message()
                if message is None:
                    return None
                frame = await self._frame(message)
                await self._take(stream, frame)
                if frame.end:
                    return Ending(1000, "")
        except WebSocketDisconnect:
            return None
        except S4opError as error:
            return ending_of(error)
        return stream.ending

    async def _message(self) -> str | bytes | None:
        self._watch(1001, f"no frame for {self._streams.idle_s:g} s")
        self._is_reading = True
        try:
            message = await self._websocket.receive()
        finally:
            self._is_reading = False
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        content: str | bytes = message.get("bytes", b"") if text is None else text
        return content

    async def _frame(self, message: str | bytes) -> Frame:
        read = partial(frame_of, message, self._model.samples_info)
        if len(message) <= _LARGE_BYTES:
            return read()
        return await to_thread.run_sync(read, limiter=self._limiter)

    async def _take(self, stream: Stream, frame: Frame) -> None:
        """Push what is in a frame, and answer: it, or after every so many samples."""
        if frame.reset:
            self._logits = None
            self._streams.move(stream, self._model.model.new_state())
        parts = self._parts(stream, frame.samples)
        for index, part in enumerate(parts):
            await self._push(stream, part)
            is_last = index == len(parts) - 1
            if self._is_due(stream) and not (is_last and frame.end):
                await self._answer(stream)
        if frame.end or not parts:
            await self._answer(stream, end=frame.end)

    def _parts(self, stream: Stream, samples: Array | None) -> list[Array]:
        """`samples` (T, ...) as batches of one (1, T', ...), each of which ends where an answer is due."""
        if samples is None:
            return []
        if self._options.normalise:
            samples = self._model.model.normalised(samples)
        every = self._options.every
        if every is None:
            return [samples[None]]
        first = every - stream.state.samples % every
        return [part[None] for part in np.split(samples, range(first, len(samples), every))]

    def _is_due(self, stream: Stream) -> bool:
        return self._options.every is None or stream.state.samples % self._options.every == 0

    async def _push(self, stream: Stream, samples: Array) -> None:
        self._watch(1013, f"no answer for {self._streams.idle_s:g} s")
        answered, state = await self._pushed(stream, samples)
        self._logits = logits_of(answered)[0]
        self._streams.move(stream, state)

    async def _pushed(self, stream: Stream, samples: Array) -> tuple[Answered, StreamState]:
        while True:
            try:
                return await self._model.push(stream.state, samples, self._options.priority)
            except RequestError as error:
                if stream.ending is not None:
                    raise FrameError(stream.ending.why, code=stream.ending.code) from error
                if error.retry_after_s is None:
                    raise
                self._late = Ending(1013, sentence_of(error))
            await anyio.sleep(_RETRY_S)

    async def _answer(self, stream: Stream, end: bool = False) -> None:
        answer = answer_of(
            stream.state.samples,
            self._logits,
            self._model.model.manifest.class_labels,
            binary=self._options.binary,
            end=end,
        )
        self._watch(1008, f"answers have not been read for {self._streams.idle_s:g} s")
        if isinstance(answer, bytes):
            await self._websocket.send_bytes(answer)
        else:
            await self._websocket.send_text(answer)

    def _watch(self, code: int, why: str) -> None:
        """From now on for `idle_s`; then the stream ends so."""
        self._late = Ending(code, why)
        self._scope.deadline = anyio.current_time() + self._streams.idle_s

    def _interrupt(self) -> None:
        """The agent ends the stream: at once if it only waits for a frame, else after the answer."""
        if self._is_reading:
            self._scope.cancel()


def ending_of(error: S4opError) -> Ending:
    """Close code and reason of an error: 1007 what a frame holds, 1011 our own fault, else 4000 + HTTP's."""
    if isinstance(error, FrameError):
        return Ending(error.code, sentence_of(error))
    if isinstance(error, BadInferenceInputError):
        return Ending(1007, sentence_of(error))
    status = status_of(error)
    return Ending(1011 if status == 500 else 4000 + status, sentence_of(error))
