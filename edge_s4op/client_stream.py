"""Streaming to an agent: push samples over a WebSocket, get the running prediction.

with stream("http://jetson:8600", "ecg") as ecg:
    for raw in sensor:                # (T, d_input), or tokens (T,)
        print(ecg.push(raw).prediction)
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import numpy as np
import numpy.typing as npt

from edge_s4op.errors import (
    AgentError,
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    BadInferenceInputError,
    UsageError,
)
from edge_s4op.transport import checked_url

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

__all__ = ["StreamAnswer", "StreamClient", "stream"]

Array = npt.NDArray[Any]

_ABOUT_THE_FRAME = (1003, 1007, 1008, 1009)
_NUMBERS_OF_A_FRAME = 16384  # some 400 kB of JSON; the agent takes 1 MiB


@dataclass(frozen=True)
class StreamAnswer:
    """What the model says after `samples` samples: logits, and the label (or number) of the largest.

    `logits` is empty and `prediction` None while there are no samples.
    """

    samples: int
    logits: Array
    prediction: str | int | None


class StreamClient:
    """One stream, in one thread. A method that raises has ended the stream: begin another.

    Raises BadInferenceInputError (samples that are not the model's), AgentRefusedError (any other reason of
    the agent's, with HTTP's status), AgentUnreachableError (lost, or no answer in time), AgentProtocolError.
    """

    def __init__(self, connection: ClientConnection, where: str, timeout_s: float) -> None:
        self._connection, self._where, self._timeout_s = connection, where, timeout_s

    def push(self, samples: npt.ArrayLike) -> StreamAnswer:
        """Push samples (T, d_input), (T,) of one channel, or tokens (T,): the answer to the last of them.

        They travel as JSON, so that integers stay what they are. Raises BadInferenceInputError, with the
        stream as it was, for what is no number or not finite.
        """
        array = np.asarray(samples)
        if (
            array.dtype.kind not in "iuf"
            or array.ndim == 0
            or array.size == 0
            or not np.isfinite(array).all()
        ):
            raise BadInferenceInputError(
                "these are no samples",
                expected="one or more samples of finite numbers",
                found=f"{array.dtype} of shape {array.shape}",
            )
        rows = max(1, _NUMBERS_OF_A_FRAME * len(array) // array.size)
        parts = (array[start : start + rows] for start in range(0, len(array), rows))
        answers = [self._asked(json.dumps({"samples": part.tolist()})) for part in parts]
        return answers[-1]

    def reset(self) -> StreamAnswer:
        """Forget what was pushed."""
        return self._asked('{"reset": true}')

    def end(self) -> StreamAnswer:
        """The last word on what was pushed; nothing can be pushed afterwards."""
        return self._asked('{"end": true}')

    def _asked(self, message: str) -> StreamAnswer:
        from websockets.exceptions import ConnectionClosed

        try:
            self._connection.send(message)
            return self._read(self._connection.recv(self._timeout_s))
        except ConnectionClosed as error:
            raise self._ended(error) from error
        except TimeoutError as error:
            raise AgentUnreachableError(f"{self._where}: no answer within {self._timeout_s:g} s") from error

    def _read(self, message: str | bytes) -> StreamAnswer:
        try:
            answer = json.loads(message)
            logits = np.array(answer["outputs"].get("logits", []), np.float32)
            return StreamAnswer(answer["samples"], logits, answer["prediction"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AgentProtocolError(f"{self._where}: an answer that cannot be read ({error})") from error

    def _ended(self, error: Any) -> AgentError | BadInferenceInputError:
        close = error.rcvd
        if close is None:
            return AgentUnreachableError(f"{self._where}: the connection was lost")
        if close.code in _ABOUT_THE_FRAME:
            return BadInferenceInputError(f"{self._where} refused the samples: {close.reason or close.code}")
        status = close.code - 4000 if close.code >= 4000 else 503
        what = f"{self._where} ended the stream ({close.code}): {close.reason or 'without a reason'}"
        return AgentRefusedError(what, status_code=status)


@contextlib.contextmanager
def stream(
    url: str, model: str, *, normalise: bool = False, priority: int = 0, timeout_s: float = 60.0
) -> Iterator[StreamClient]:
    """A new stream on `model` of the agent at `url` ("http://jetson:8600"); it ends with the block.

    With `normalise` the agent normalises raw samples as the model file says; `priority` is that of its
    pushes in the model's queue, 1 the most urgent, 0 the model's default. The model is asked for with the
    first push: an unknown one, or one that keeps no state, raises AgentRefusedError then.

    Raises UsageError (no agent's address, or websockets is not installed), AgentUnreachableError,
    AgentProtocolError.
    """
    try:
        from websockets.exceptions import InvalidHandshake
        from websockets.sync.client import connect
    except ImportError as error:
        raise UsageError("streaming needs the package websockets", fix="pip install websockets") from error
    options = {"normalise": 1} if normalise else {}
    options |= {"priority": priority} if priority else {}
    path = f"/v2/models/{quote(model, safe='')}/stream" + (f"?{urlencode(options)}" if options else "")
    where = checked_url(url).rstrip("/")
    address = "ws" + where.removeprefix("http") + path
    with contextlib.ExitStack() as opened:
        try:
            connection = opened.enter_context(
                connect(address, open_timeout=timeout_s, compression=None, proxy=None)
            )
        except InvalidHandshake as error:
            raise AgentProtocolError(f"{where} does not stream: {error}", fix="is it an agent?") from error
        except OSError as error:  # a timeout, too
            raise AgentUnreachableError(
                f"no device agent can be reached at {where}: {error}",
                fix="start one with `s4op-agent`, or check the address and the network",
            ) from error
        yield StreamClient(connection, where, timeout_s)
