"""One sample pushed into a stream, beside computing its window anew: the same S4D classifier, one thread.

    push        one sample onto a state, by the streaming file: what a stream costs per sample
    recompute   the offline file on all L samples up to the new one: what it costs without a state
Both run in ONNX Runtime through the runner that serves, both answer the same at the end of L samples
(checked). They take turns of a few calls in a row; figures are medians of the rounds' ratios.
`stream_speedup` is recompute over push, H=128, depth 4, L=4096, all operators kept; `push_many` is one push
onto eight streams at once, per stream.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.harness import Report, interleave, run
from edge_s4op.artifact import Artifact
from edge_s4op.runtime import Array, Runner, open_runner
from edge_s4op.runtime.streaming import StreamModel, StreamState, open_stream_model
from host.export import export_model, relative_difference
from host.export_streaming import export_streaming
from host.models import Classifier, ModelConfig

SEQ_LEN, WIDTH, DEPTH = 4096, 128, 4
STREAMS = 8  # of push_many


class Pushing:
    """One more sample onto the state, at every call."""

    def __init__(self, stream: StreamModel, states: tuple[StreamState, ...], samples: Array) -> None:
        self.stream, self.states, self.samples = stream, states, samples

    def __call__(self) -> None:
        if len(self.states) == 1:
            _, state = self.stream.push(self.states[0], self.samples)
            self.states = (state,)
        else:
            _, self.states = self.stream.push_many(self.states, self.samples)


def measure(quick: bool) -> Report:
    """One pushed sample beside recomputing its window, both in ONNX Runtime on one thread."""
    rounds = 7 if quick else 21
    rows, figures = [], {}
    for kind in ("s4d",) if quick else ("s4d", "s4"):
        model = _model(kind)
        offline = open_runner(export_model(model), "onnxruntime", threads=1)
        for window in (None,) if quick else (None, SEQ_LEN):
            row, found = _compare(kind, window, offline, export_streaming(model, window=window), rounds)
            rows.append(row)
            figures |= found
        offline.close()
    columns = ("SSM", "mean over", "state kB", "push us", "push_many us", "recompute ms", "recompute/push")
    return Report(columns, rows, figures)


def _model(kind: str) -> Classifier:
    torch.manual_seed(0)
    config = ModelConfig(
        kind=kind,  # type: ignore[arg-type]
        num_classes=10,
        seq_len=SEQ_LEN,
        d_input=1,
        d_model=WIDTH,
        depth=DEPTH,
    )
    return Classifier(config).eval()


def _compare(
    kind: str, window: int | None, offline: Runner, artifact: Artifact, rounds: int
) -> tuple[list[object], dict[str, float]]:
    runner = open_runner(artifact, "onnxruntime", threads=1)
    stream = open_stream_model(runner)
    x = np.random.default_rng(0).standard_normal((1, SEQ_LEN, 1), np.float32)
    expected = offline.run({"input": x})["logits"]
    logits, state = stream.push(stream.new_state(), x)
    assert relative_difference(logits, expected) < 1e-4, "the two disagree"
    one = Pushing(stream, (state,), x[:, :1])
    many = Pushing(stream, (state,) * STREAMS, np.repeat(x[:, :1], STREAMS, axis=0))
    cases = {"push": one, "push_many": many, "recompute": lambda: offline.run({"input": x})}
    timings = interleave(cases, rounds=rounds, lead_in=3, calls=5)
    runner.close()
    ratio = timings.ratio("recompute", "push")
    suffix = "" if (kind, window) == ("s4d", None) else f"_{kind}_{'sliding' if window else 'running'}"
    row = [kind, "all so far" if window is None else f"last {window}", stream.state_bytes() / 1e3]
    row += [timings.median_ms("push") * 1e3, timings.median_ms("push_many") * 1e3 / STREAMS]
    return [*row, timings.median_ms("recompute"), str(ratio)], {
        f"stream_speedup{suffix}": round(ratio.median, 1),
        f"stream_push_us{suffix}": round(timings.median_ms("push") * 1e3, 1),
    }


if __name__ == "__main__":
    run("streaming", measure)
