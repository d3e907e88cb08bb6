"""The largest gain of an operator's difference to the pass-through, over all frequencies."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from host.models.s4 import S4Operators

__all__ = ["dense_peaks", "diagonal_peaks"]

_GRID = 64  # frequencies of each kind: evenly and geometrically spaced, beside those around the poles
_AROUND_A_POLE = (-3.0, -1.0, -0.4, 0.0, 0.4, 1.0, 3.0)  # in half-widths of its resonance
_PEAKS = 8  # highest local maxima of the grid that are refined
_ZOOM_POINTS, _ZOOMS = 17, 6  # every zoom narrows a maximum to 1/8: 4e-6 of the grid's spacing
_OPERATORS = 8  # at a time: arrays of 8 x 600 x 32 complex numbers stay within 3 MB


def diagonal_peaks(log_a: Tensor, residues: Tensor, direct: Tensor) -> Tensor:
    """max_w |direct + sum_m r_m / (1 - a_m e^-iw) + conj(r_m) / (1 - conj(a_m) e^-iw)|, float64 (H,).

    log_a and residues (H, M) complex128, direct (H,).
    """
    return _in_parts(_diagonal_part, log_a, residues, direct)


def _diagonal_part(log_a: Tensor, residues: Tensor, direct: Tensor) -> Tensor:
    a, r = log_a.exp()[:, None], residues[:, None]

    def gain(angles: Tensor) -> Tensor:
        w = torch.polar(torch.ones_like(angles), -angles)[..., None]  # (H, F, 1)
        terms = r / (1 - a * w) + r.conj() / (1 - a.conj() * w)
        return (terms.sum(dim=-1) + direct[:, None]).abs()

    return _peak(gain, _frequencies(log_a))


def dense_peaks(own: S4Operators, rows: Tensor, direct: Tensor) -> Tensor:
    """max_w |direct + c (I - a e^-iw)^-1 b| of S4's operators `rows`, float64 (H,); direct (H,).

    A is diagonal plus rank one, so the resolvent of its bilinear transform is four sums over the states,
    joined by Woodbury's identity, O(N) a frequency: with w = e^-iw, g = (1 + w) dt/2 and
    s(v) = sum_n v_n / ((1 - w) - g lambda_n),
    G = dt (s(c b) - g s(c p) s(p* b) / (1 + g s(p* p)))  (Gu et al. 2022, arXiv 2111.00396, appendix C.3).
    The grid is laid around the eigenvalues of a, where the resonances are.
    """
    half = own.log_dt[rows].double().exp() / 2
    lam = torch.complex(-own.log_a_real[rows].double().exp(), own.a_imag[rows].double())
    kept = own.kept_modes[rows][..., None]
    p, b, c = (torch.view_as_complex(v[rows].double() * kept) for v in (own.p, own.b, own.c))
    return _in_parts(_dense_part, half, lam, p, b, c, direct, own.discrete(rows)[0])


def _dense_part(
    half: Tensor, lam: Tensor, p: Tensor, b: Tensor, c: Tensor, direct: Tensor, a: Tensor
) -> Tensor:
    half, lam = half[:, None, None], lam[:, None]
    products = [v[:, None] for v in (c * b, c * p, p.conj() * b, p.conj() * p)]

    def gain(angles: Tensor) -> Tensor:
        w = torch.polar(torch.ones_like(angles), -angles)[..., None]  # (H, F, 1)
        g = (1 + w) * half
        upper, lower = 1 / (1 - w - g * lam), 1 / (1 - w - g * lam.conj())  # (H, F, M)
        cb, cp, pb, pp = (
            (v * upper + v.conj() * lower).sum(dim=-1, keepdim=True) for v in products
        )  # (H, F, 1)
        response = 2 * half * (cb - g * cp * pb / (1 + g * pp))
        return (response[..., 0] + direct[:, None]).abs()

    finite = a.nan_to_num(0.0, 0.0, 0.0)  # eigvals raises for NaN; the gain stays NaN, and is reported
    return _peak(gain, _frequencies(torch.linalg.eigvals(finite).log()))


def _in_parts(part: Callable[..., Tensor], *of_operators: Tensor) -> Tensor:
    parts = zip(*(value.split(_OPERATORS) for value in of_operators), strict=True)
    return torch.cat([part(*own) for own in parts])


def _frequencies(log_a: Tensor) -> Tensor:
    """Angles within [0, pi], ascending, (H, F): even, geometric, and around those of the poles (H, M)."""
    angle = torch.atan2(log_a.imag.sin(), log_a.imag.cos()).abs()[..., None]
    width = -log_a.real[..., None].clamp(min=-math.pi)  # also log 0 of a pole at the origin
    around = angle + width * angle.new_tensor(_AROUND_A_POLE)  # (H, M, 7)
    even = torch.linspace(0, math.pi, _GRID, dtype=angle.dtype, device=angle.device)
    geometric = torch.logspace(-5, 0, _GRID, dtype=angle.dtype, device=angle.device) * math.pi
    common = torch.cat([even, geometric]).expand(len(log_a), -1)
    angles = torch.cat([common, around.flatten(1)], dim=1).clamp(0, math.pi)
    return angles.round(decimals=12).sort(dim=1).values  # conjugate poles' angles differ by rounding


def _peak(gain: Callable[[Tensor], Tensor], angles: Tensor) -> Tensor:
    """The maximum of `gain` (H, F) -> (H, F), found on `angles` (H, F) and refined by zooming in; (H,)."""
    values = gain(angles)
    best = values.amax(dim=1)
    padded = functional.pad(values, (1, 1), value=-1.0)
    top = (values > padded[:, :-2]) & (values >= padded[:, 2:])  # of equal neighbours, one
    at = values.masked_fill(~top, -1.0).topk(min(_PEAKS, angles.shape[1]), dim=1).indices  # (H, P)
    low, high = _neighbours(angles, angles.gather(1, at))
    steps = torch.linspace(0, 1, _ZOOM_POINTS, dtype=angles.dtype, device=angles.device)
    for _ in range(_ZOOMS):
        inside = low[..., None] + (high - low)[..., None] * steps  # (H, P, S)
        values = gain(inside.flatten(1)).view_as(inside)
        best = torch.maximum(best, values.amax(dim=(1, 2)))
        at = values.argmax(dim=-1, keepdim=True)
        low = inside.gather(-1, (at - 1).clamp(min=0))[..., 0]
        high = inside.gather(-1, (at + 1).clamp(max=_ZOOM_POINTS - 1))[..., 0]
    return best


def _neighbours(angles: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """The next smaller and the next larger of `angles` (H, F), ascending with repeats, for `at` (H, P)."""
    below = torch.searchsorted(angles, at) - 1
    above = torch.searchsorted(angles, at, right=True)
    return angles.gather(1, below.clamp(min=0)), angles.gather(1, above.clamp(max=angles.shape[1] - 1))
