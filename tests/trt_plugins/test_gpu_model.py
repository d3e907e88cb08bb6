"""The benchmark's model of torch GEMMs and our kernels computes what the classifier computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.gpu_kernels import FusedModel, layer_weights
from host.export import relative_difference
from host.models import Classifier, ModelConfig, compact
from host.models.layer import SSMLayer
from trt_plugins.cpu.kernel_library import CpuKernels, Tactic, Weights


def on_cpu(kernels: CpuKernels, layer: SSMLayer, length: int, tactic: Tactic) -> Callable[[Tensor], Tensor]:
    k, d, poles, residues = (weight.numpy() for weight in layer_weights(layer, length))
    weights = Weights(layer.kept_operators(), layer.num_channels, k, d, poles, residues)
    return lambda x: torch.from_numpy(kernels.run(tactic, x.numpy(), weights, gelu=True))


@pytest.mark.parametrize(("norm", "prenorm"), [("batch", True), ("layer", False), ("layer", True)])
@pytest.mark.parametrize(
    ("dtype", "tactic", "limit"),
    [(torch.float32, Tactic.FFT, 1e-5), (torch.float16, Tactic.SCAN, 1e-2)],
    ids=["fp32", "fp16"],
)
def test_the_fused_model_equals_the_classifier(
    kernels: CpuKernels, norm: str, prenorm: bool, dtype: torch.dtype, tactic: Tactic, limit: float
) -> None:
    torch.manual_seed(0)
    sizes = {"num_classes": 3, "seq_len": 100, "d_input": 2, "d_model": 8, "depth": 2}
    model = Classifier(ModelConfig(kind="s4d", norm=norm, prenorm=prenorm, **sizes)).eval()  # type: ignore[arg-type]
    model.set_kept_operators([[0, 3, 7], [1, 2, 3, 4]])
    model = compact(model)
    x = torch.randn(2, 100, 2)
    with torch.inference_mode():
        convolutions = [on_cpu(kernels, block.ssm, 100, tactic) for block in model.blocks]
        found = FusedModel(model, convolutions, dtype)(x.to(dtype)).float()
        assert relative_difference(found.numpy(), model(x).numpy()) < limit
