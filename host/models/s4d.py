"""The diagonal SSM of S4D: one single-input single-output system per channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from host.models.masks import register_mask
from host.models.parameters import ssm_parameter

__all__ = ["DiagonalRecurrence", "S4DOperators", "powers_kernel"]


class S4DOperators(nn.Module):
    """H operators with A diagonal: s' = A s + u, y = 2 Re(C s), discretised by zero-order hold.

    A = -exp(log_a_real) + i a_imag (H, M), dt = exp(log_dt) (H,), C (H, M) complex stored as pairs,
    M = d_state / 2 conjugate pairs; k[l] = 2 Re sum_m C_m (exp(dt A_m) - 1) / A_m exp(dt A_m l).
    Starts as S4D-Lin: A_m = -1/2 + i pi m (Gu et al. 2022, arXiv 2206.11893, section 4.2).
    `kept_modes` (H, M) bool says which pairs take part: C of the others counts as zero.
    """

    kept_modes: Tensor

    parameter_names = ("log_dt", "log_a_real", "a_imag", "c")
    mode_parameter_names = ("log_a_real", "a_imag", "c")  # (H, M, ...)

    def __init__(self, channels: int, d_state: int, dt_min: float, dt_max: float) -> None:
        super().__init__()
        modes = d_state // 2
        log_dt = torch.rand(channels) * math.log(dt_max / dt_min) + math.log(dt_min)
        self.log_dt = ssm_parameter(log_dt)
        self.log_a_real = ssm_parameter(torch.full((channels, modes), math.log(0.5)))
        self.a_imag = ssm_parameter(math.pi * torch.arange(modes).repeat(channels, 1).float())
        self.c = nn.Parameter(torch.randn(channels, modes, 2) * math.sqrt(0.5))
        register_mask(self, "kept_modes", (channels, modes))

    def discrete(self, keep: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Poles dt A and residues C (exp(dt A) - 1) / A of the operators `keep`: four (H, M) float64.

        Real and imaginary parts of the poles, then of the residues. float64 because a phase of
        dt A l is only as exact as dt A: at l = 16384 float32 would be off by 1e-3 rad and more.
        """
        dt = self.log_dt[keep].double().exp()[:, None]
        a = torch.complex(-self.log_a_real[keep].double().exp(), self.a_imag[keep].double())
        c = torch.view_as_complex(self.c[keep].double()) * self.kept_modes[keep]
        poles = dt * a
        residues = c * torch.expm1(poles) / a
        return poles.real, poles.imag, residues.real, residues.imag

    def kernel(self, length: int, keep: Tensor | slice = slice(None)) -> Tensor:
        """k (H, length) of the operators `keep`, in the dtype of the parameters."""
        return powers_kernel(*self.discrete(keep), length, self.c.dtype)

    def recurrence(self) -> DiagonalRecurrence:
        """The same operators as a recurrence over samples."""
        pole_re, pole_im, res_re, res_im = self.discrete()
        return DiagonalRecurrence(torch.polar(pole_re.exp(), pole_im), torch.complex(res_re, res_im))


@dataclass(frozen=True)
class DiagonalRecurrence:
    """s' = a s + u, y = 2 Re sum_m residues_m s'_m; a and residues (H, M) complex128.

    Carried in double whatever the model's dtype: an operator remembers thousands of samples, over which
    the rounding of a float32 a alone adds up to 1.2e-5 of the output (measured at L = 16384).
    """

    a: Tensor
    residues: Tensor

    def initial_state(self, batch: int) -> Tensor:
        """The zero state, complex128 (B, H, M)."""
        return self.a.new_zeros(batch, *self.a.shape)

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One sample u (B, H) and the state -> y (B, H) and the next state."""
        state = self.a * state + u[..., None]
        return 2 * (state * self.residues).real.sum(-1).to(u.dtype), state


def powers_kernel(
    pole_re: Tensor, pole_im: Tensor, res_re: Tensor, res_im: Tensor, length: int, dtype: torch.dtype
) -> Tensor:
    """k[l] = 2 Re sum_m residue_m exp(pole_m l), (H, length), from (H, M) float64 poles and residues.

    Two levels of powers, l = j T + t, joined by one batched matrix product:
    k[j T + t] = sum_m Re(2 residue_m a_m^(jT)) Re(a_m^t) - Im(..) Im(..), so that H M (T + L/T)
    exponentials are taken instead of H M L, and no (H, M, L) tensor exists.
    """
    fine = 1 << max(0, math.ceil(math.log2(length) / 2))
    coarse = -(-length // fine)
    fine_re, fine_im = _powers(pole_re, pole_im, fine, 1, dtype)  # (H, T, M)
    step_re, step_im = _powers(pole_re, pole_im, coarse, fine, dtype)  # (H, L/T, M)
    res_re, res_im = 2 * res_re[:, None].to(dtype), 2 * res_im[:, None].to(dtype)
    left_re = res_re * step_re - res_im * step_im
    left_im = res_re * step_im + res_im * step_re
    left = torch.cat([left_re, -left_im], dim=-1)  # (H, L/T, 2M)
    right = torch.cat([fine_re, fine_im], dim=-1)  # (H, T, 2M)
    return (left @ right.mT).flatten(1)[:, :length]


def _powers(
    pole_re: Tensor, pole_im: Tensor, count: int, stride: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """exp(pole stride j) for j < count, real and imaginary parts, (H, count, M)."""
    steps = stride * torch.arange(count, dtype=pole_re.dtype, device=pole_re.device)[:, None]
    phase = pole_im[:, None] * steps
    with torch.no_grad():  # whole turns change nothing, and float32 cannot hold them
        turns = torch.round(phase / (2 * math.pi)) * (2 * math.pi)
    phase = (phase - turns).to(dtype)
    size = (pole_re[:, None] * steps).to(dtype).exp()
    return size * phase.cos(), size * phase.sin()
