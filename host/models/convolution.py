"""Causal convolution of a batch with one kernel per channel, by FFT."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["causal_convolution"]


def causal_convolution(u: Tensor, k: Tensor) -> Tensor:
    """y[b, h, t] = sum_{i <= t} k[h, i] u[b, h, t-i]; u (B, H, L), k (H, L), y (B, H, L)."""
    size = 2 * u.shape[-1]  # twice the length: circular convolution does not wrap around
    spectrum = torch.fft.rfft(u, n=size) * torch.fft.rfft(k, n=size)
    return torch.fft.irfft(spectrum, n=size)[..., : u.shape[-1]]
