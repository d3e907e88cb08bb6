"""Our kernels, PyTorch's FFT convolution and published eager S4D, turn by turn on one GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu_kernels import GpuKernels, SSMConv, fused_model, graphed
from benchmarks.harness import Ratio, Timings, interleave
from benchmarks.peers import CachedSpectrum, PublishedEager
from host.export import relative_difference
from host.models import Classifier, ModelConfig, compact

__all__ = ["Row", "compare"]

CALLS = 20  # in a row between two waits: what waiting costs is shared by them
ROUNDS = 15
# Half against float32 of a whole model, relative to its largest logit.
HALF_DIFFERENCE = 3e-2


@dataclass(frozen=True)
class Row:
    """One case: ours beside what computes the same in PyTorch."""

    case: str
    times: Timings
    ours: str
    cached: str
    published: str

    def cells(self) -> list[object]:
        us = [self.times.median_ms(name) * 1e3 / CALLS for name in (self.ours, self.cached, self.published)]
        return [self.case, *us, str(self.ratio(self.cached)), str(self.ratio(self.published))]

    def figures(self) -> dict[str, float]:
        key = self.case.replace(" ", "_").replace("=", "")
        return {
            f"vs_cached_{key}": round(self.ratio(self.cached).median, 3),
            f"vs_published_{key}": round(self.ratio(self.published).median, 3),
        }

    def ratio(self, peer: str) -> Ratio:
        return self.times.ratio(peer, self.ours)


def compare(library: Path, quick: bool) -> list[Row]:
    """One layer and whole models; ours against both peers, as called from Python and as CUDA graphs."""
    kernels, rows = GpuKernels(library), []
    with torch.inference_mode():
        for length in (1024, 4096) if quick else (1024, 2048, 4096):
            for width in (128,) if quick else (128, 256):
                for kept in (1.0,) if quick else (1.0, 0.5):
                    rows += _layer(kernels, _model(length, width, 1, kept))
        for length, width, depth in (
            ((1024, 256, 6),) if quick else ((1024, 256, 6), (4096, 256, 6), (4096, 128, 4))
        ):
            for kept in (1.0, 0.5):
                rows += _whole_model(kernels, _model(length, width, depth, kept))
    return rows


def _model(length: int, width: int, depth: int, kept: float) -> Classifier:
    torch.manual_seed(0)
    config = ModelConfig(
        kind="s4d",
        num_classes=2,
        seq_len=length,
        d_input=1,
        d_model=width,
        depth=depth,
        norm="batch",
        prenorm=True,
    )
    model = Classifier(config).eval()
    count = max(1, round(kept * width))
    model.set_kept_operators([sorted(torch.randperm(width)[:count].tolist()) for _ in model.blocks])
    return compact(model).cuda()


def _layer(kernels: GpuKernels, model: Classifier) -> list[Row]:
    """The convolution, skip term and GELU of one layer, B = 1."""
    ssm, config = model.blocks[0].ssm, model.config
    peers = {"cached": CachedSpectrum(model), "published": PublishedEager(model)}
    x = torch.randn(1, config.d_model, config.seq_len, device="cuda")
    calls: dict[str, Callable[[], Tensor]] = {
        name: lambda peer=peer: functional.gelu(peer._convolved(0, ssm, x)) for name, peer in peers.items()
    }
    name = f"layer L={config.seq_len} H={config.d_model} kept={len(ssm.kept_operators())}"
    rows = []
    for dtype, text in ((torch.float32, "fp32"), (torch.float16, "fp16")):
        mine, input_ = SSMConv(kernels, ssm, x.to(dtype)), x.to(dtype)
        calls["ours"] = lambda mine=mine, input_=input_: mine(input_)
        limit = 1e-4 if dtype is torch.float32 else 1e-2
        _agree(calls, limit)
        rows += _rows(f"{name} {text} {mine.tactic.name.lower()}", calls)
    return rows


def _whole_model(kernels: GpuKernels, model: Classifier) -> list[Row]:
    config = model.config
    x = torch.randn(1, config.seq_len, 1, device="cuda")
    peers = {"cached": CachedSpectrum(model), "published": PublishedEager(model)}
    calls: dict[str, Callable[[], Tensor]] = {name: lambda peer=peer: peer(x) for name, peer in peers.items()}
    kept = len(model.blocks[0].ssm.kept_operators())
    name = f"model L={config.seq_len} H={config.d_model} depth={config.depth} kept={kept}"
    rows = []
    for dtype, text in ((torch.float32, "fp32"), (torch.float16, "fp16")):
        mine, input_ = fused_model(model, kernels, x.to(dtype)), x.to(dtype)
        calls["ours"] = lambda mine=mine, input_=input_: mine(input_)
        _agree(calls, 1e-3 if dtype is torch.float32 else HALF_DIFFERENCE)
        rows += _rows(f"{name} {text}", calls)
    return rows


def _agree(calls: dict[str, Callable[[], Tensor]], limit: float) -> None:
    found = {name: call().float().cpu().numpy() for name, call in calls.items()}
    for name, output in found.items():
        difference = relative_difference(found["published"], output)
        if not difference < limit:
            raise RuntimeError(f"{name} differs from published by {difference:.1e}, limit {limit:.0e}")


def _rows(name: str, calls: dict[str, Callable[[], Tensor]]) -> list[Row]:
    """Ours as a graph, as a TensorRT engine runs, beside eager peers; then all three as graphs."""
    graphs = {f"{kind} graph": graphed(call)[0] for kind, call in calls.items()}
    cases = {kind: _repeated(call) for kind, call in (calls | graphs).items()}
    times = interleave(cases, rounds=ROUNDS, warmup=2)
    return [
        Row(f"{name} eager", times, "ours", "cached", "published"),
        Row(f"{name} ours-in-graph", times, "ours graph", "cached", "published"),
        Row(f"{name} graph", times, "ours graph", "cached graph", "published graph"),
    ]


def _repeated(call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(CALLS):
            call()
        torch.cuda.synchronize()

    return run
