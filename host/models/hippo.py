"""HiPPO-LegS in diagonal plus low-rank form, the initial state matrix of S4."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["legs_dplr"]

Complex = npt.NDArray[np.complex128]


def legs_dplr(d_state: int) -> tuple[Complex, Complex, Complex]:
    """Lambda, P, B (M,) complex128, one of each of the M = d_state / 2 conjugate pairs.

    LegS is A[n, k] = -sqrt((2n+1)(2k+1)) below the diagonal and -(n+1) on it, B[n] = sqrt(2n+1). With
    P[n] = sqrt(n + 1/2), A + P P^T + I/2 is skew-symmetric, hence unitarily diagonalisable:
    A = V (Lambda - (V^*P)(V^*P)^*) V^* (Gu et al. 2022, arXiv 2111.00396, theorem 1 and appendix C.1).
    """
    n = np.arange(d_state)
    p = np.sqrt(n + 0.5)
    b = np.sqrt(2 * n + 1.0)
    lower = np.tril(np.outer(b, b), -1)
    skew = -0.5 * lower + 0.5 * lower.T  # A + P P^T + I/2
    imaginary, v = np.linalg.eigh(-1j * skew)
    half = slice(d_state // 2, None)  # ascending: the upper half has positive imaginary parts
    lam = -0.5 + 1j * imaginary[half]
    return lam, (v.conj().T @ p)[half], (v.conj().T @ b)[half]
