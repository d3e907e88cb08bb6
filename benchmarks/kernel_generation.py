"""S4D kernel generation on the CPU: two levels of powers beside the direct einsum.

H = 256, N = 64, L = 4096. Both make the same kernel from the same parameters (checked); forward, then
forward plus backward through every parameter, turn by turn in one process; peak memory of a forward
plus backward, each in a process of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from benchmarks.harness import Report, Timings, interleave, peak_memory_bytes, run
from benchmarks.peers import direct_kernel
from host.models.s4d import S4DOperators

CHANNELS, D_STATE, SEQ_LEN = 256, 64, 4096


def measure(quick: bool) -> Report:
    """Two levels of powers joined by a matrix product beside the direct einsum over (H, N, L)."""
    torch.set_num_threads(1)
    operators = _operators()
    ours, direct = _forwards(operators)
    with torch.no_grad():
        difference = (ours() - direct()).abs().max() / direct().abs().max()
    assert difference < 1e-3, f"the two kernels differ by {difference:.2g}"
    rounds = 3 if quick else 9
    forward = interleave({"ours": _no_grad(ours), "direct": _no_grad(direct)}, rounds=rounds, warmup=1)
    both = {"ours": _backward(operators, ours), "direct": _backward(operators, direct)}
    training = interleave(both, rounds=rounds, warmup=1)
    memory = {name: peak_memory_bytes(functools.partial(_prepared, name)) for name in ("ours", "direct")}
    memory_ratio = memory["direct"] / memory["ours"]
    rows = [
        _row("forward ms", forward),
        _row("forward + backward ms", training),
        ["peak memory MB", memory["ours"] / 1e6, memory["direct"] / 1e6, f"{memory_ratio:.1f}x"],
    ]
    figures = {
        "forward_speedup": round(forward.ratio("direct", "ours").median, 2),
        "train_speedup": round(training.ratio("direct", "ours").median, 2),
        "memory_ratio": round(memory_ratio, 2),
    }
    columns = (f"H={CHANNELS} N={D_STATE} L={SEQ_LEN}, 1 thread", "ours", "direct", "ratio")
    return Report(columns, rows, figures)


def _row(name: str, times: Timings) -> list[object]:
    return [name, times.median_ms("ours"), times.median_ms("direct"), times.ratio("direct", "ours")]


def _operators() -> S4DOperators:
    torch.manual_seed(0)
    return S4DOperators(CHANNELS, D_STATE, 1e-3, 1e-1)


def _forwards(own: S4DOperators) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    def direct() -> torch.Tensor:
        return direct_kernel(own.log_dt, own.log_a_real, own.a_imag, own.c, SEQ_LEN)

    return lambda: own.kernel(SEQ_LEN), direct


def _no_grad(forward: Callable[[], torch.Tensor]) -> Callable[[], object]:
    return torch.no_grad()(forward)


def _backward(own: S4DOperators, forward: Callable[[], torch.Tensor]) -> Callable[[], object]:
    def once() -> None:
        own.zero_grad()
        forward().square().sum().backward()

    return once


def _prepared(name: str) -> Callable[[], object]:
    torch.set_num_threads(1)
    own = _operators()
    torch.ones(4, requires_grad=True).square().sum().backward()  # autograd's own pools are not counted
    return _backward(own, _forwards(own)[name == "direct"])


if __name__ == "__main__":
    run("kernel_generation", measure)
