"""How much an operator's transfer function changes when one conjugate pair of states leaves it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from host.models.s4 import S4Operators

__all__ = ["dplr_pair_gains", "pair_gains"]

_GRID = 128  # frequencies of each kind: evenly and geometrically spaced, beside every pair's own
_OPERATORS = 8  # scored at a time: 10 arrays of 8 x 290 x 32 complex numbers stay within 12 MB


def pair_gains(a: Tensor, residues: Tensor) -> Tensor:
    """max over the unit circle of |r / (1 - a w) + conj(r) / (1 - conj(a) w)|, a and r (H, M) complex128.

    The pair is second order: |N|^2 / |D|^2 = (p0 + p1 x) / (q0 + q1 x + q2 x^2) in x = cos(frequency), so
    the peak is at x = -1, x = 1 or where p1 q2 x^2 + 2 p0 q2 x + p0 q1 - p1 q0 = 0.
    """
    n0, n1 = 2 * residues.real, -2 * (residues * a.conj()).real  # N = n0 + n1 w
    size = a.abs().square()
    p0, p1 = n0.square() + n1.square(), 2 * n0 * n1
    q0, q1, q2 = (1 - size).square() + 4 * a.real.square(), -4 * a.real * (1 + size), 4 * size
    half, free = p0 * q2, p0 * q1 - p1 * q0
    root = -(half + (half.square() - p1 * q2 * free).clamp(min=0).sqrt())
    own = a.real / a.abs().clamp(min=1e-300)  # the pole's own frequency, where rounding spoils the roots
    ends = torch.ones_like(half)
    x = torch.stack([ends, -ends, own, root / (p1 * q2), free / root]).nan_to_num(0.0).clamp(-1, 1)
    w = torch.polar(ends, -x.acos())  # (5, H, M)
    return ((n0 + n1 * w).abs() / ((1 - a * w).abs() * (1 - a.conj() * w).abs())).amax(dim=0)


@torch.no_grad()
def dplr_pair_gains(own: S4Operators) -> Tensor:
    """max over a grid of frequencies of |G(w) - G_without_m(w)|, float64 (H, M), for S4.

    With R_n = 1 / ((1 - w) - (1 + w) dt/2 lambda_n) the bilinear transform's transfer function is four sums
    over all states, joined by Woodbury's identity (Gu et al. 2022, arXiv 2111.00396, appendix C.3):
    G = dt (s(c b) - g s(c p) s(p* b) / (1 + g s(p* p))), s(v) = sum_n v_n R_n, g = (1 + w) dt/2.
    Without a pair its terms leave the four sums. The grid holds every pair's resonance.
    """
    half = own.log_dt.double().exp()[:, None] / 2
    lam = torch.complex(-own.log_a_real.double().exp(), own.a_imag.double())
    kept = own.kept_modes[..., None]
    p, b, c = (torch.view_as_complex(v.double() * kept) for v in (own.p, own.b, own.c))
    parts = [value.split(_OPERATORS) for value in (half, lam, p, b, c)]
    return torch.cat([_dplr_part(*part) for part in zip(*parts, strict=True)])


def _dplr_part(half: Tensor, lam: Tensor, p: Tensor, b: Tensor, c: Tensor) -> Tensor:
    angles = _frequencies(half, lam)  # (H, F)
    w = torch.polar(torch.ones_like(angles), -angles)[..., None]  # (H, F, 1)
    g = (1 + w) * half[..., None]
    lam = lam[:, None]
    upper, lower = 1 / (1 - w - g * lam), 1 / (1 - w - g * lam.conj())  # (H, F, M)
    terms = [
        v[:, None] * upper + v.conj()[:, None] * lower for v in (c * b, c * p, p.conj() * b, p.conj() * p)
    ]
    sums = [term.sum(dim=-1, keepdim=True) for term in terms]
    full = _joined(g, *sums)
    without = _joined(g, *(total - term for total, term in zip(sums, terms, strict=True)))
    return (full - without).abs().amax(dim=1) * 2 * half


def _joined(g: Tensor, cb: Tensor, cp: Tensor, pb: Tensor, pp: Tensor) -> Tensor:
    return cb - g * cp * pb / (1 + g * pp)


def _frequencies(half: Tensor, lam: Tensor) -> Tensor:
    """Angles within [0, pi], (H, F): even, geometric, and where the bilinear transform puts each pole."""
    even = torch.linspace(0, math.pi, _GRID, dtype=half.dtype, device=half.device)
    geometric = torch.logspace(-5, 0, _GRID, dtype=half.dtype, device=half.device) * math.pi
    common = torch.cat([even, geometric]).expand(len(half), -1)
    return torch.cat([common, 2 * torch.atan(half * lam.imag.abs())], dim=1)
