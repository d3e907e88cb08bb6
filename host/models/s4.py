"""The diagonal plus low-rank SSM of S4 (DPLR, rank 1, HiPPO-LegS)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from host.models.hippo import legs_dplr
from host.models.masks import register_mask
from host.models.parameters import ssm_parameter

__all__ = ["DenseRecurrence", "S4Operators"]


class S4Operators(nn.Module):
    """H operators with A = diag(Lambda) - P P^*, discretised by the bilinear transform.

    k[l] = Re(C a^l b), a = (I - dt/2 A)^-1 (I + dt/2 A), b = (I - dt/2 A)^-1 dt B
    (Gu et al. 2022, arXiv 2111.00396, eq. 3). Lambda = -exp(log_a_real) + i a_imag, P, B and C are
    (H, M): one of each of M = d_state / 2 conjugate pairs, complex ones stored as pairs of reals.

    The paper evaluates the kernel's generating function in the frequency domain; the same k comes here
    from two levels of powers of a (as S4D's does), which needs no (H, M, L) tensor, no correction of C
    for the length, and leaves the matrices that recurrence and export need.
    `edge_s4op.reference.s4_kernel` is the paper's algorithm; tests hold the two together to 1e-10.

    `kept_modes` (H, M) bool says which pairs take part: P, B and C of the others count as zero, so that they
    are neither coupled, driven nor read: exactly the system without these states.
    """

    kept_modes: Tensor

    parameter_names = ("log_dt", "log_a_real", "a_imag", "p", "b", "c")
    mode_parameter_names = ("log_a_real", "a_imag", "p", "b", "c")  # (H, M, ...)

    def __init__(self, channels: int, d_state: int, dt_min: float, dt_max: float) -> None:
        super().__init__()
        lam, p, b = (torch.from_numpy(v) for v in legs_dplr(d_state))
        log_dt = torch.rand(channels) * math.log(dt_max / dt_min) + math.log(dt_min)
        self.log_dt = ssm_parameter(log_dt)
        self.log_a_real = ssm_parameter((-lam.real).log().float().repeat(channels, 1))
        self.a_imag = ssm_parameter(lam.imag.float().repeat(channels, 1))
        self.p = ssm_parameter(torch.view_as_real(p).float().repeat(channels, 1, 1))
        self.b = ssm_parameter(torch.view_as_real(b).float().repeat(channels, 1, 1))
        self.c = nn.Parameter(torch.randn(channels, d_state // 2, 2) * math.sqrt(0.5))
        register_mask(self, "kept_modes", (channels, d_state // 2))

    def discrete(self, keep: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor, Tensor]:
        """a (H, N, N), b (H, N), c (H, N) of the operators `keep`, real, float64: y = c a^l b.

        The state of conjugate pairs z is carried as the reals [Re z; Im z] (N = 2M of them), in which
        A = block(Lambda) - 2 p p^T with p = [Re P; Im P] is real and the low rank stays one, so that
        I - dt/2 A is inverted in closed form (Sherman-Morrison).
        """
        half = self.log_dt[keep].double().exp()[:, None] / 2  # (H, 1)
        lam = torch.complex(-self.log_a_real[keep].double().exp(), self.a_imag[keep].double())
        kept = self.kept_modes[keep][..., None]
        p, b = _stacked(self.p[keep] * kept), _stacked(self.b[keep] * kept)  # (H, N)
        diagonal = 1 / (1 - half * lam)  # the block-diagonal part of the inverse, (H, M) complex
        dp = _rotate(diagonal, p)  # D^-1 p
        inverse = _block(diagonal)
        scale = 2 * half / (1 + 2 * half * (p * dp).sum(-1, keepdim=True))
        row = _rotate(diagonal.conj(), p)  # p^T D^-1
        inverse = inverse - scale[..., None] * dp[..., None] * row[:, None]
        identity = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
        c = torch.view_as_complex(self.c[keep].double() * kept)
        c = 2 * torch.cat([c.real, -c.imag], dim=-1)
        return 2 * inverse - identity, (inverse @ b[..., None])[..., 0] * 2 * half, c

    def kernel(self, length: int, keep: Tensor | slice = slice(None)) -> Tensor:
        """k (H, length) of the operators `keep`: k[j T + t] = (c a^(jT)) (a^t b)."""
        a, b, c = self.discrete(keep)
        fine_bits = max(0, math.ceil(math.log2(length) / 2))
        coarse_bits = max(0, math.ceil(math.log2(-(-length // (1 << fine_bits)))))
        right, power = b[:, None], a  # rows a^t b
        for _ in range(fine_bits):
            right = torch.cat([right, right @ power.mT], dim=1)
            power = power @ power
        left = c[:, None]  # rows c a^(jT)
        for _ in range(coarse_bits):
            left = torch.cat([left, left @ power], dim=1)
            power = power @ power
        dtype = self.c.dtype
        return (left.to(dtype) @ right.to(dtype).mT).flatten(1)[:, :length]

    def recurrence(self) -> DenseRecurrence:
        """The same operators as a recurrence over samples."""
        return DenseRecurrence(*self.discrete())


@dataclass(frozen=True)
class DenseRecurrence:
    """s' = a s + b u, y = c s'; a (H, N, N), b and c (H, N), float64 as S4D's recurrence is."""

    a: Tensor
    b: Tensor
    c: Tensor

    def initial_state(self, batch: int) -> Tensor:
        """The zero state, float64 (B, H, N)."""
        return self.b.new_zeros(batch, *self.b.shape)

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One sample u (B, H) and the state -> y (B, H) and the next state."""
        state = (self.a @ state[..., None])[..., 0] + self.b * u[..., None]
        return (self.c * state).sum(-1).to(u.dtype), state


def _stacked(pairs: Tensor) -> Tensor:
    """(H, M, 2) pairs -> [Re; Im] (H, 2M) float64."""
    return pairs.double().transpose(-1, -2).flatten(-2)


def _rotate(diagonal: Tensor, x: Tensor) -> Tensor:
    """diag(diagonal) applied to a state in [Re; Im] form: (H, M) complex, (H, 2M) -> (H, 2M)."""
    re, im = x.chunk(2, dim=-1)
    return torch.cat([diagonal.real * re - diagonal.imag * im, diagonal.imag * re + diagonal.real * im], -1)


def _block(diagonal: Tensor) -> Tensor:
    """diag(diagonal) as a real matrix [[Re, -Im], [Im, Re]], (H, 2M, 2M)."""
    re, im = torch.diag_embed(diagonal.real), torch.diag_embed(diagonal.imag)
    return torch.cat([torch.cat([re, -im], dim=-1), torch.cat([im, re], dim=-1)], dim=-2)
