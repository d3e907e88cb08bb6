"""The operator in float64 NumPy, written for trust and not for speed: what everything is tested against.

Sources: S4, Gu et al. 2022, arXiv 2111.00396 (eq. 3 bilinear transform, algorithm 1); S4D, Gu et al.
2022, arXiv 2206.11893 (section 3: zero-order hold, conjugate pairs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "causal_convolution",
    "gelu",
    "s4_kernel",
    "s4_state_space",
    "s4d_discrete",
    "s4d_kernel",
    "s4d_recurrence",
    "ssm_conv",
    "state_space_recurrence",
]

Array = npt.NDArray[Any]


def s4d_discrete(log_dt: Array, log_a_real: Array, a_imag: Array, c: Array) -> tuple[Array, Array]:
    """Poles dt A and residues C (exp(dt A) - 1) / A of S4D, both (H, M) complex128.

    A = -exp(log_a_real) + i a_imag, dt = exp(log_dt); log_dt (H,), the others (H, M), c complex.
    """
    a = -np.exp(np.asarray(log_a_real, np.float64)) + 1j * np.asarray(a_imag, np.float64)
    poles = np.exp(np.asarray(log_dt, np.float64))[:, None] * a
    return poles, np.asarray(c, np.complex128) * np.expm1(poles) / a


def s4d_kernel(poles: Array, residues: Array, length: int) -> Array:
    """k[h, l] = 2 Re sum_m residues[h, m] exp(poles[h, m] l), float64 (H, length)."""
    kernel = np.zeros((poles.shape[0], length))
    lags = np.arange(length)
    for m in range(poles.shape[1]):  # one mode at a time: (H, L) memory, not (H, M, L)
        kernel += 2 * (residues[:, m, None] * np.exp(poles[:, m, None] * lags)).real
    return kernel


def s4d_recurrence(poles: Array, residues: Array, x: Array) -> Array:
    """x (B, H, L) through s_t = exp(poles) s_{t-1} + x_t, y_t = 2 Re sum residues s_t; float64."""
    state = np.zeros((x.shape[0], *poles.shape), np.complex128)
    a, y = np.exp(poles), np.empty(x.shape)
    for t in range(x.shape[-1]):
        state = a * state + x[..., t, None]
        y[..., t] = 2 * (state * residues).real.sum(-1)
    return y


def s4_state_space(
    log_dt: Array, log_a_real: Array, a_imag: Array, p: Array, b: Array, c: Array
) -> tuple[Array, Array, Array]:
    """Discrete dense S4: a (H, N, N), b (H, N), c (H, N) complex128 over all N = 2M conjugate states.

    A = diag(Lambda) - P P^*, bilinear: a = (I - dt/2 A)^-1 (I + dt/2 A), b = (I - dt/2 A)^-1 dt B.
    log_dt (H,), log_a_real and a_imag (H, M), p, b and c (H, M) complex: one of each conjugate pair.
    """
    full = [_with_conjugates(v) for v in (p, b, c)]
    lam = _with_conjugates(-np.exp(np.asarray(log_a_real, np.float64)) + 1j * np.asarray(a_imag, np.float64))
    half = np.exp(np.asarray(log_dt, np.float64))[:, None, None] / 2
    identity = np.eye(lam.shape[1])
    a = lam[..., None] * identity - full[0][..., None] * full[0][:, None].conj()
    inverse = np.linalg.inv(identity - half * a)
    return inverse @ (identity + half * a), (inverse @ full[1][..., None])[..., 0] * 2 * half[..., 0], full[2]


def s4_kernel(
    log_dt: Array, log_a_real: Array, a_imag: Array, p: Array, b: Array, c: Array, length: int
) -> Array:
    """k[h, l] = c a^l b, computed in the frequency domain as algorithm 1 of the S4 paper does.

    The generating function at the roots of unity w, K(w) = 2 [C~qB - (1+w) C~qP P*qB / (1 + (1+w) P*qP)]
    with q = 1 / (2/dt (1-w) - Lambda (1+w)) and C~ = C (I - a^length); written without the division
    by 1+w, which is zero at w = -1. Parameters as in `s4_state_space`; float64 (H, length).
    """
    a, _, c_full = s4_state_space(log_dt, log_a_real, a_imag, p, b, c)
    power = np.stack([np.linalg.matrix_power(matrix, length) for matrix in a])
    c_tilde = c_full - (c_full[:, None] @ power)[:, 0]
    p_full, b_full = _with_conjugates(p), _with_conjugates(b)
    lam = _with_conjugates(-np.exp(np.asarray(log_a_real, np.float64)) + 1j * np.asarray(a_imag, np.float64))
    w = np.exp(-2j * np.pi * np.arange(length) / length)
    two_over_dt = 2 / np.exp(np.asarray(log_dt, np.float64))
    sums = np.zeros((4, lam.shape[0], length), np.complex128)
    for n in range(lam.shape[1]):
        q = 1 / (two_over_dt[:, None] * (1 - w) - lam[:, n, None] * (1 + w))
        pairs = ((c_tilde, b_full), (c_tilde, p_full), (p_full.conj(), b_full), (p_full.conj(), p_full))
        for i, (left, right) in enumerate(pairs):
            sums[i] += (left[:, n] * right[:, n])[:, None] * q
    cb, cp, pb, pp = sums
    return np.fft.ifft(2 * (cb - (1 + w) * cp * pb / (1 + (1 + w) * pp))).real


def state_space_recurrence(a: Array, b: Array, c: Array, x: Array) -> Array:
    """x (B, H, L) through s_t = a s_{t-1} + b x_t, y_t = Re(c s_t); a (H, N, N), b and c (H, N)."""
    state = np.zeros((x.shape[0], *b.shape), np.result_type(a, b))
    y = np.empty(x.shape)
    for t in range(x.shape[-1]):
        state = np.einsum("hnm,bhm->bhn", a, state) + b * x[..., t, None]
        y[..., t] = (state * c).sum(-1).real
    return y


def causal_convolution(k: Array, x: Array) -> Array:
    """y[b, h, t] = sum_{i <= t} k[h, i] x[b, h, t-i]; k (H, Lk), x (B, H, L), float64, by FFT."""
    length = x.shape[-1]
    k = np.asarray(k, np.float64)[:, :length]
    size = 1 << max(1, (length + k.shape[-1] - 1).bit_length())
    spectrum = np.fft.rfft(np.asarray(x, np.float64), size) * np.fft.rfft(k, size)
    y: Array = np.fft.irfft(spectrum, size)
    return np.asarray(y[..., :length])


def gelu(x: Array) -> Array:
    """x Phi(x) with the exact error function, float64."""
    erf: Array = np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2))
    return np.asarray(0.5 * x * (1 + erf))


def ssm_conv(x: Array, k: Array, d: Array, channels: Sequence[int], *, with_gelu: bool) -> Array:
    """What the ONNX operator SSMConv computes; x (B, H, L), k (Hk, Lk), d (Hk,), float64 (B, H, L)."""
    kept = list(channels)
    y = np.array(x, np.float64)
    y[:, kept] = causal_convolution(k, x[:, kept]) + np.asarray(d, np.float64)[:, None] * x[:, kept]
    return gelu(y) if with_gelu else y


def _with_conjugates(half: Array) -> Array:
    half = np.asarray(half, np.complex128)
    return np.concatenate([half, half.conj()], axis=-1)
