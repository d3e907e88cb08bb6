"""Whole-model latency on the CPU: our ONNX file in ONNX Runtime beside eager PyTorch.

S4D classifiers of the published shapes, batch 1, pruned at random to the kept share:
    ours       the exported file in ONNX Runtime, as the agent measures and serves it: SSMConv by our library
    body       the same without the library: SSMConv by its function body, standard operators
    published  eager PyTorch, kernel and spectrum rebuilt at every call
    cached     eager PyTorch, spectrum computed once
All four compute the same logits (checked), in one process, turn by turn: a pause that lets the others'
thread pools fall asleep, calls that are not timed, then the median of some in a row (of "published", which
takes seconds: one call). So all are in their steady state, as in any measurement of latency. Figures are
medians of the rounds' ratios: vs_published_L1024_H256_keep0.5_t1 is how many times faster ours is, on one
thread. Without the library ours and body are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.harness import Report, interleave, run, tell
from benchmarks.peers import CachedSpectrum, PublishedEager
from edge_s4op.runtime import RunnerOptions, open_runner
from host.export import export_model, relative_difference
from host.models import Classifier, ModelConfig, compact


@dataclass(frozen=True)
class Shape:
    """A published setting: sequence length, width, depth, norm."""

    seq_len: int
    d_model: int
    depth: int
    norm: str
    prenorm: bool


SHAPES = (
    Shape(1024, 256, 6, "batch", True),  # pathfinder
    Shape(4096, 256, 6, "batch", True),  # imdb
    Shape(4096, 128, 4, "layer", False),  # ecg
)
KEPT = (1.0, 0.5, 0.3, 0.1)
SETTLE_S = 0.1  # after a call on two threads ONNX Runtime's pool spins for 32 ms, PyTorch's OpenMP for 10 ms


def measure(quick: bool) -> Report:
    """Our ONNX file in ONNX Runtime beside eager PyTorch, as published and with a cached spectrum."""
    rows, figures = [], {}
    shapes = SHAPES[:1] if quick else SHAPES
    for shape in shapes:
        for kept in (1.0, 0.5) if quick else KEPT:
            model = _pruned(shape, kept)
            for threads in (1, 2):
                tell(f"L={shape.seq_len}, H={shape.d_model}, kept {kept:g}, {threads} thread(s)")
                row, found = _compare(shape, kept, threads, model, *((4, 1) if quick else (15, 3)))
                rows.append(row)
                figures |= found
    columns = ("L", "H", "depth", "kept", "threads", "ours ms", "body ms", "published ms", "cached ms")
    return Report((*columns, "vs published", "vs cached", "vs body"), rows, figures)


def _pruned(shape: Shape, kept: float) -> Classifier:
    torch.manual_seed(0)
    config = ModelConfig(
        kind="s4d",
        num_classes=2,
        seq_len=shape.seq_len,
        d_input=1,
        d_model=shape.d_model,
        depth=shape.depth,
        norm=shape.norm,  # type: ignore[arg-type]
        prenorm=shape.prenorm,
    )
    model = Classifier(config).eval()
    count = max(1, round(kept * shape.d_model))
    model.set_kept_operators([sorted(torch.randperm(shape.d_model)[:count].tolist()) for _ in model.blocks])
    return compact(model)


def _compare(
    shape: Shape, kept: float, threads: int, model: Classifier, rounds: int, slow_rounds: int
) -> tuple[list[object], dict[str, float]]:
    torch.set_num_threads(threads)
    x = torch.randn(1, shape.seq_len, 1)
    artifact = export_model(model)
    runner = open_runner(artifact, "onnxruntime", threads)
    body = open_runner(artifact, "onnxruntime", threads, options=RunnerOptions(plugin=None))
    feeds = {"input": x.numpy()}
    published, cached = PublishedEager(model), CachedSpectrum(model)
    with torch.inference_mode():
        expected = model(x).numpy()
        logits = [published(x).numpy(), cached(x).numpy(), *(r.run(feeds)["logits"] for r in (runner, body))]
        for other in logits:
            assert relative_difference(np.asarray(other), expected) < 1e-3, "the peers disagree"
        fast = {"ours": lambda: runner.run(feeds), "cached": lambda: cached(x)}
        fast["body"] = lambda: body.run(feeds)
        times = interleave(fast, rounds=rounds, settle_s=SETTLE_S, lead_in=2, calls=5)
        slow = {"ours": fast["ours"], "published": lambda: published(x)}
        slow_times = interleave(slow, rounds=slow_rounds, warmup=0, settle_s=SETTLE_S, lead_in=1)
    for opened in (runner, body):
        opened.close()
    against = {"published": slow_times.ratio("published", "ours")}
    against |= {name: times.ratio(name, "ours") for name in ("cached", "body")}
    key = f"L{shape.seq_len}_H{shape.d_model}_keep{kept:g}_t{threads}"
    figures = {f"vs_{name}_{key}": round(ratio.median, 3) for name, ratio in against.items()}
    row = [shape.seq_len, shape.d_model, shape.depth, kept, threads]
    row += [times.median_ms("ours"), times.median_ms("body")]
    row += [slow_times.median_ms("published"), times.median_ms("cached")]
    return [*row, *(str(ratio) for ratio in against.values())], figures


if __name__ == "__main__":
    run("cpu_latency", measure)
