"""What we measure ourselves against computes the same thing."""

from __future__ import annotations

import pytest
import torch

from benchmarks.peers import CachedSpectrum, PublishedEager, direct_kernel
from host.models import Classifier, ModelConfig, compact
from host.models.s4d import S4DOperators


@pytest.mark.parametrize(("norm", "prenorm"), [("batch", True), ("layer", False)])
@torch.no_grad()
def test_the_peers_compute_the_pruned_model(norm: str, prenorm: bool):
    torch.manual_seed(0)
    config = ModelConfig(
        kind="s4d", num_classes=3, seq_len=90, d_input=1, d_model=8, depth=2, norm=norm, prenorm=prenorm
    )
    model = Classifier(config).eval()
    model.set_kept_operators([(0, 2, 3), tuple(range(8))])
    small, x = compact(model), torch.randn(2, 90, 1)
    for peer in (PublishedEager(small), CachedSpectrum(small)):
        torch.testing.assert_close(peer(x), model(x), rtol=1e-4, atol=1e-5)


def test_the_direct_kernel_is_the_kernel():
    torch.manual_seed(0)
    own = S4DOperators(3, 64, 1e-3, 1e-1)
    direct = direct_kernel(own.log_dt, own.log_a_real, own.a_imag, own.c, 200)
    torch.testing.assert_close(own.kernel(200), direct, rtol=1e-3, atol=1e-4)
