"""`s4op infer --stream`: push one sequence's samples to a streaming model, as a sensor would."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_s4op.client_stream import StreamAnswer, StreamClient, stream
from edge_s4op.profiler.statistics import percentile
from host.cli.console import emit_json, result
from host.cli.infer_inputs import Sequence
from host.cli.progress import streaming_bar

__all__ = ["Streamed", "push_all", "stream_and_show"]

Prediction = str | int | None


@dataclass(frozen=True)
class Streamed:
    """A sequence that was pushed: the last answer, how long each push took, and what was said meanwhile.

    `changes` has the samples so far and the prediction, of the first answer and of each that says something
    else than the one before.
    """

    last: StreamAnswer
    pushes_ms: tuple[float, ...]
    changes: tuple[tuple[int, Prediction], ...]

    @property
    def samples_per_s(self) -> float:
        """Samples a second, while pushing."""
        return self.last.samples / (sum(self.pushes_ms) * 1e-3)

    def percentile_ms(self, p: float) -> float:
        """The `p`-th percentile of the time of a push, ms."""
        return percentile(sorted(self.pushes_ms), p)


def stream_and_show(url: str, name: str, sequence: Sequence, *, push: int, as_json: bool) -> None:
    """Push `sequence` to model `name` of the agent at `url` and print what it says.

    Raises AgentError, BadInferenceInputError when the agent ends the stream.
    """
    with streaming_bar(name, len(sequence.x)) as follow, stream(url, name) as client:
        streamed = push_all(client, sequence.x, push, follow)
    if as_json:
        emit_json(_figures(streamed, sequence, push))
        return
    for line in _lines(streamed, sequence, push):
        result.print(line, soft_wrap=True)


def push_all(
    client: StreamClient, x: np.ndarray, push: int, on_answer: Callable[[StreamAnswer], None]
) -> Streamed:
    """Push x (T, ...) in parts of `push` samples, each when the last is answered; then end the stream."""
    pushes_ms: list[float] = []
    changes: list[tuple[int, Prediction]] = []
    for start in range(0, len(x), push):
        began = time.perf_counter()
        answer = client.push(x[start : start + push])
        pushes_ms.append((time.perf_counter() - began) * 1e3)
        if not changes or changes[-1][1] != answer.prediction:
            changes.append((answer.samples, answer.prediction))
        on_answer(answer)
    return Streamed(client.end(), tuple(pushes_ms), tuple(changes))


def _figures(streamed: Streamed, sequence: Sequence, push: int) -> dict[str, Any]:
    return {
        "samples": streamed.last.samples,
        "prediction": streamed.last.prediction,
        "label": sequence.label,
        "logits": streamed.last.logits.tolist(),
        "changes": [{"samples": samples, "prediction": said} for samples, said in streamed.changes],
        "push": push,
        "pushes": len(streamed.pushes_ms),
        "push_ms": {"p50": streamed.percentile_ms(50), "p99": streamed.percentile_ms(99)},
        "samples_per_s": streamed.samples_per_s,
    }


def _lines(streamed: Streamed, sequence: Sequence, push: int) -> tuple[str, str]:
    last, since = streamed.last, streamed.changes[-1][0]
    label = "" if sequence.label is None else f"; its label is {sequence.label}"
    times = f"p50 {streamed.percentile_ms(50):.2f} ms, p99 {streamed.percentile_ms(99):.2f} ms"
    return (
        f"{last.prediction} after {last.samples} samples, unchanged since sample {since}{label}",
        f"{len(streamed.pushes_ms)} pushes of {push}: {times} each; {streamed.samples_per_s:,.0f} samples/s",
    )
