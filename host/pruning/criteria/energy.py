"""The energy of a kernel, sum_{t < n} k[t]^2, without its samples."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dense_energy", "diagonal_energy"]

_MAX_DOUBLINGS = 60  # 2^60 samples: every stable operator has long decayed


def diagonal_energy(log_a: Tensor, residues: Tensor, length: int | None) -> Tensor:
    """Energy of k[t] = 2 Re z[t], z[t] = sum_m r_m a_m^t, over t < length (None: all); float64 (H,).

    (2 Re z)^2 = 2 |z|^2 + 2 Re z^2, and sums over t of products of modes are geometric series:
    sum_t |z|^2 = sum_mn r_m conj(r_n) S(log a_m + conj(log a_n)), sum_t z^2 = sum_mn r_m r_n
    S(log a_m + log a_n), S(p) = (1 - e^(np)) / (1 - e^p). log_a and residues (H, M) complex128.
    """
    rows, columns = residues[:, :, None], residues[:, None, :]
    p, q = log_a[:, :, None], log_a[:, None, :]
    sizes = (rows * columns.conj() * _series(p + q.conj(), length)).sum(dim=(1, 2)).real
    squares = (rows * columns * _series(p + q, length)).sum(dim=(1, 2)).real
    return (2 * (sizes + squares)).clamp(min=0)


def _series(p: Tensor, length: int | None) -> Tensor:
    """S(p), with expm1: under light damping a_m conj(a_n) is near 1, and 1 - e^p all rounding."""
    step = torch.expm1(p)
    if length is None:
        return -1 / step
    series = torch.expm1(length * p) / step
    return torch.where(step == 0, torch.full_like(p, length), series)


def dense_energy(a: Tensor, b: Tensor, c: Tensor, length: int | None) -> Tensor:
    """Energy of k[t] = c a^t b over t < length (None: all); a (H, N, N), b and c (H, N); float64 (H,).

    c W c^T with the Gramian W_n = sum_{t < n} a^t b b^T (a^T)^t, by doubling along the bits of n:
    W_2n = W_n + a^n W_n (a^n)^T, W_(n+1) = W_n + (a^n b) (a^n b)^T.
    """
    gramian, power = torch.zeros_like(a), torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).expand_as(a)
    # No length: one sample, then doublings until the powers have decayed.
    for bit in "1" + "0" * _MAX_DOUBLINGS if length is None else f"{length:b}":
        gramian = gramian + power @ gramian @ power.mT
        power = power @ power
        if bit == "1":
            reached = power @ b[..., None]  # a^n b
            gramian = gramian + reached * reached.mT
            power = power @ a
        if length is None and power.abs().max() < 1e-20:
            break
    return ((c[:, None] @ gramian)[:, 0] * c).sum(dim=1).clamp(min=0)
