"""Hankel singular values of single conjugate pairs of states."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dense_pair_hankel", "pair_hankel"]

_MAX_DOUBLINGS = 60  # 2^60 samples: every stable operator has long decayed


def pair_hankel(a: Tensor, residues: Tensor) -> Tensor:
    """Largest Hankel singular value of k[t] = 2 Re(r a^t) as a system of order two, float64 (H, M).

    In the states z, conj(z), driven by 1 and read by r, the Gramians are
    P = [[p, q], [conj q, p]] with p = 1 / (1 - |a|^2), q = 1 / (1 - a^2), and
    Q = [[|r|^2 p, conj(r^2 q)], [r^2 q, |r|^2 p]]; sigma^2 are the eigenvalues of P Q.
    """
    p = 1 / (1 - a.abs().square())
    q = 1 / (1 - a.square())
    size = residues.abs().square()
    trace = 2 * size * p.square() + 2 * (residues.square() * q.square()).real
    determinant = (size * (p.square() - q.abs().square())).square()
    return _largest(trace, determinant)


def dense_pair_hankel(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """sqrt(lambda_max(P_mm Q_mm)) per pair m of y = c a^t b, float64 (H, M); a (H, N, N), b and c (H, N).

    P = sum_t a^t b b^T a^T^t and Q = sum_t a^T^t c^T c a^t; pair m is the states m and M + m.
    """
    reach, read = _gramian(a, b), _gramian(a.mT, c)
    first = torch.arange(a.shape[-1] // 2, device=a.device)
    pairs = torch.stack([first, first + len(first)], dim=-1)  # (M, 2)
    rows, columns = pairs[:, :, None], pairs[:, None, :]
    p, q = reach[:, rows, columns], read[:, rows, columns]  # (H, M, 2, 2)
    return _largest((p * q).sum(dim=(-1, -2)), torch.det(p) * torch.det(q))


def _gramian(a: Tensor, b: Tensor) -> Tensor:
    """sum_t a^t b b^T a^T^t by doubling: W_2n = W_n + a^n W_n a^n^T."""
    total, power = b[..., :, None] * b[..., None, :], a
    for _ in range(_MAX_DOUBLINGS):
        total = total + power @ total @ power.mT
        power = power @ power
        if power.abs().max() < 1e-20:
            break
    return total


def _largest(trace: Tensor, determinant: Tensor) -> Tensor:
    """Square root of the larger eigenvalue of a 2 x 2 matrix with real, non-negative eigenvalues."""
    spread = (trace.square() - 4 * determinant).clamp(min=0).sqrt()
    return ((trace + spread) / 2).clamp(min=0).sqrt()
