"""Our kernels on torch's tensors and stream: what a TensorRT engine would launch, inside a torch model."""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from host.models import Classifier
from host.models.layer import SSMLayer
from host.models.s4d import S4DOperators
from trt_plugins.cpu.kernel_library import Problem, Tactic

__all__ = ["FusedModel", "GpuKernels", "SSMConv", "fused_model", "graphed", "layer_weights", "seconds_each"]

EXACT = {torch.float32: (Tactic.FFT,), torch.float16: (Tactic.FFT, Tactic.SCAN, Tactic.TOEPLITZ)}


class GpuKernels:
    """libssm_conv_c.so, built by trt_plugins/bench/build.sh."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.s4op_shared_bytes.restype = ctypes.c_int64
        self._library.s4op_supports.argtypes = (ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64)
        self._library.s4op_workspace_bytes.argtypes = (ctypes.c_int32, ctypes.c_void_p)
        self._library.s4op_workspace_bytes.restype = ctypes.c_int64
        self._library.s4op_prepare.argtypes = (ctypes.c_int32, ctypes.c_void_p)
        self._library.s4op_launch.argtypes = (ctypes.c_int32, *[ctypes.c_void_p] * 10)

    def supports(self, tactic: Tactic, problem: Problem) -> bool:
        """Whether `tactic` computes `problem` on the current device."""
        shared_bytes: int = self._library.s4op_shared_bytes()
        if shared_bytes < 0:
            raise RuntimeError(f"the device's shared memory is not known: CUDA error {-shared_bytes}")
        return bool(self._library.s4op_supports(tactic, problem.packed(), shared_bytes))

    def workspace_bytes(self, tactic: Tactic, problem: Problem) -> int:
        return int(self._library.s4op_workspace_bytes(tactic, problem.packed()))

    def prepare(self, tactic: Tactic, problem: Problem) -> None:
        self._checked(self._library.s4op_prepare(tactic, problem.packed()), tactic, problem)

    def launch(self, tactic: Tactic, problem: Problem, *pointers: object) -> None:
        """`pointers`: channels (host), then x, k, d, poles, residues, y, workspace (device), stream."""
        self._checked(self._library.s4op_launch(tactic, problem.packed(), *pointers), tactic, problem)

    def _checked(self, status: int, tactic: Tactic, problem: Problem) -> None:
        if status != 0:
            raise RuntimeError(f"{tactic.name} failed with CUDA error {status} on {problem}")


def layer_weights(layer: SSMLayer, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator's float32 inputs of an S4D layer: k (Hk, L), d (Hk,), poles and residues (Hk, M, 2)."""
    operators, rows = layer.operators, layer.kept_rows()
    assert isinstance(operators, S4DOperators)
    pole_re, pole_im, res_re, res_im = operators.discrete(rows)
    wrapped = torch.remainder(pole_im + torch.pi, 2 * torch.pi) - torch.pi
    poles, residues = torch.stack([pole_re, wrapped], -1), torch.stack([res_re, res_im], -1)
    k, d, poles, residues = (
        weight.detach().float().contiguous()
        for weight in (operators.kernel(length, rows), layer.d[rows], poles, residues)
    )
    return k, d, poles, residues


class SSMConv:
    """One layer's convolution and GELU for x of one shape and type, by the fastest exact tactic.

    As in an engine: weights and workspace are made once, a call launches on torch's current stream.
    """

    def __init__(self, kernels: GpuKernels, layer: SSMLayer, x: Tensor, *, gelu: bool = True) -> None:
        batch, channels, length = x.shape
        self._weights = layer_weights(layer, length)
        kept = layer.kept_operators()
        self._channels = (ctypes.c_int32 * len(kept))(*kept)
        half, modes = x.dtype == torch.float16, self._weights[2].shape[1]
        self._problem = Problem(batch, channels, len(kept), length, length, modes, half, gelu)
        self._kernels, self._y = kernels, torch.empty_like(x)
        self.tactic = self._fastest(x)
        self._workspace = self._room(self.tactic, x)

    def __call__(self, x: Tensor) -> Tensor:
        """y (B, H, L); the next call overwrites it."""
        self._launch(self.tactic, x, self._workspace)
        return self._y

    def _fastest(self, x: Tensor) -> Tactic:
        found = {}
        for tactic in EXACT[x.dtype]:
            if self._kernels.supports(tactic, self._problem):
                self._kernels.prepare(tactic, self._problem)
                room = self._room(tactic, x)
                replay, _ = graphed(lambda t=tactic, r=room: self._launches(t, x, r))
                found[tactic] = seconds_each(replay, calls=20)
        return min(found, key=lambda tactic: found[tactic])

    def _launches(self, tactic: Tactic, x: Tensor, workspace: Tensor) -> Tensor:
        for _ in range(20):  # so many that a graph's own launch does not count
            self._launch(tactic, x, workspace)
        return self._y

    def _room(self, tactic: Tactic, x: Tensor) -> Tensor:
        size = max(1, self._kernels.workspace_bytes(tactic, self._problem))
        return torch.empty(size, dtype=torch.uint8, device=x.device)

    def _launch(self, tactic: Tactic, x: Tensor, workspace: Tensor) -> None:
        if x.shape != self._y.shape or x.dtype != self._y.dtype or not x.is_contiguous():
            raise ValueError(f"made for contiguous {self._y.dtype} {tuple(self._y.shape)}, found {x.shape}")
        pointers = [tensor.data_ptr() for tensor in (x, *self._weights, self._y, workspace)]
        stream = torch.cuda.current_stream().cuda_stream
        self._kernels.launch(tactic, self._problem, ctypes.addressof(self._channels), *pointers, stream)


class FusedModel(nn.Module):
    """An S4D classifier of torch GEMMs and, for each block, one operator that convolves and applies GELU."""

    def __init__(
        self, model: Classifier, convolutions: Sequence[Callable[[Tensor], Tensor]], dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.model, self.convolutions = copy.deepcopy(model).to(dtype).eval(), tuple(convolutions)

    def forward(self, x: Tensor) -> Tensor:
        h = self.model.encoder(x).transpose(1, 2).contiguous()  # (B, H, L)
        for block, convolution in zip(self.model.blocks, self.convolutions, strict=True):
            z = block.normalize(h).contiguous() if block.prenorm else h
            mixed = torch.matmul(block.mix.weight[:, :, 0], convolution(z)) + block.mix.bias[:, None]
            h = h + functional.glu(mixed, dim=1)  # (B, H, L)
            h = h if block.prenorm else block.normalize(h).contiguous()
        return self.model.head(h.mean(dim=-1))


def fused_model(model: Classifier, kernels: GpuKernels, x: Tensor) -> FusedModel:
    """The float32 `model` with our kernels, for x (B, L, d_input) as it will come, in x's type."""
    h = x.new_zeros(x.shape[0], model.config.d_model, x.shape[1])  # (B, H, L)
    return FusedModel(model, [SSMConv(kernels, block.ssm, h) for block in model.blocks], x.dtype)


def graphed(call: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """`call` captured into a CUDA graph: what replays it, and the tensor its output is in."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries make their plans outside the capture
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = call()
    return graph.replay, output


def seconds_each(call: Callable[[], object], *, calls: int) -> float:
    """Seconds on the GPU's clock of one of `calls` calls in a row, after three unmeasured ones."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(3):
        call()
    start.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e-3 / calls
