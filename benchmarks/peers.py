"""What we measure ourselves against: S4D in eager PyTorch, as the published implementations run it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from host.models import Block, Classifier, SSMLayer

__all__ = ["CachedSpectrum", "PublishedEager", "direct_kernel"]


def direct_kernel(log_dt: Tensor, log_a_real: Tensor, a_imag: Tensor, c: Tensor, length: int) -> Tensor:
    """S4D's kernel (H, length) the direct way: one einsum over the complex tensor (H, M, length)."""
    a = torch.complex(-log_a_real.exp(), a_imag)  # (H, M)
    poles = a * log_dt.exp()[:, None]
    residues = torch.view_as_complex(c) * (torch.exp(poles) - 1) / a
    exponents = poles[..., None] * torch.arange(length, device=poles.device)  # (H, M, L)
    return 2 * torch.einsum("hm,hml->hl", residues, exponents.exp()).real


class PublishedEager(nn.Module):
    """A pruned S4D classifier in eager PyTorch; kernel and spectrum are rebuilt at every call."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        h = self.model.encoder(x).transpose(1, 2)  # (B, H, L)
        for index, block in enumerate(self.model.blocks):
            z = block.normalize(h) if block.prenorm else h
            h = h + self._mixed(block, self._convolved(index, block.ssm, z))
            h = h if block.prenorm else block.normalize(h)
        return self.model.head(h.mean(dim=-1))

    def spectrum(self, index: int, ssm: SSMLayer, length: int) -> Tensor:
        """The kernel's spectrum (Hk, length + 1)."""
        own = ssm.operators
        kernel = direct_kernel(own.log_dt, own.log_a_real, own.a_imag, own.c, length)
        return torch.fft.rfft(kernel, n=2 * length)

    def _convolved(self, index: int, ssm: SSMLayer, u: Tensor) -> Tensor:
        length = u.shape[-1]
        kept = len(ssm.channels) < ssm.num_channels
        x = u.index_select(1, ssm.channels) if kept else u
        spectrum = torch.fft.rfft(x, n=2 * length) * self.spectrum(index, ssm, length)
        y = torch.fft.irfft(spectrum, n=2 * length)[..., :length] + ssm.d[:, None] * x
        return u.index_copy(1, ssm.channels, y) if kept else y

    def _mixed(self, block: Block, y: Tensor) -> Tensor:
        return functional.glu(block.mix(functional.gelu(y)), dim=1)


class CachedSpectrum(PublishedEager):
    """The same, with every kernel's spectrum computed once and kept."""

    def __init__(self, model: Classifier) -> None:
        super().__init__(model)
        length = model.config.seq_len
        with torch.no_grad():
            kept = [
                super(CachedSpectrum, self).spectrum(i, b.ssm, length) for i, b in enumerate(model.blocks)
            ]
        self.spectra = kept

    def spectrum(self, index: int, ssm: SSMLayer, length: int) -> Tensor:
        return self.spectra[index]
