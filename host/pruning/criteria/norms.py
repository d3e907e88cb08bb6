"""How far an operator is from the pass-through as a linear system: closed forms that need no data.

The difference of the two is a system of its own. Its impulse response is
e[0] = k[0] + d - 1, e[t] = k[t], and its transfer function G(w) - 1 = sum_t k[t] e^(-iwt) + d - 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from host.models.classifier import Classifier
from host.models.layer import SSMLayer, ssm_layers
from host.models.s4 import S4Operators
from host.pruning.calibration import Calibration
from host.pruning.criteria.contract import CRITERIA, checked_scores, scores_of_rows
from host.pruning.criteria.energy import dense_energy, diagonal_energy
from host.pruning.criteria.peaks import dense_peaks, diagonal_peaks

__all__ = ["h2", "h2_norms", "hinf", "hinf_norms"]


@CRITERIA.register("h2")
def h2(model: nn.Module, calibration: Calibration | None, generator: np.random.Generator) -> list[np.ndarray]:
    """H2 norm of the operator's difference to the pass-through; needs no data; one (H,) per layer.

    sqrt(sum_{t < L} e[t]^2): the RMS by which the output changes when white noise of variance one comes in.
    L is a Classifier's `config.seq_len`, as later samples of the kernel are never used; any other model does
    not say how long its sequences are: there the sum is over all t. Zhou, Doyle and Glover 1996, Robust and
    Optimal Control, chapter 4. Raises UsageError for parameters that are not finite.
    """
    horizon = model.config.seq_len if isinstance(model, Classifier) else None
    return _scored("h2", model, lambda layer: h2_norms(layer, horizon))


@CRITERIA.register("hinf")
def hinf(
    model: nn.Module, calibration: Calibration | None, generator: np.random.Generator
) -> list[np.ndarray]:
    """H-infinity norm of the operator's difference to the pass-through; needs no data; one (H,) per layer.

    max_w |G(w) - 1|: no input of energy one changes the output by more, and some sinusoid by as much. It is
    taken over sequences without end, hence an upper bound for those of length L. Scores of this kind for
    whole states: Gwak et al. 2024, arXiv 2411.02824. Raises UsageError for parameters that are not finite.
    """
    return _scored("hinf", model, hinf_norms)


@torch.no_grad()
def h2_norms(layer: SSMLayer, horizon: int | None = None) -> Tensor:
    """`h2` of each of the layer's kept operators over `horizon` samples, None: all; float64 (kept,).

    e[0]^2 is taken apart, since d = 1 - k[0] would cancel in a sum of squares: what remains is the energy of
    the kernel from its second sample on.
    """
    own, rows = layer.operators, layer.kept_rows()
    after = None if horizon is None else horizon - 1
    if isinstance(own, S4Operators):
        a, b, c = own.discrete(rows)
        first, tail = (c * b).sum(dim=1), dense_energy(a, (a @ b[..., None])[..., 0], c, after)
    else:
        log_a, residues = _poles_and_residues(own.discrete(rows))
        first, tail = 2 * residues.real.sum(dim=1), diagonal_energy(log_a, residues * log_a.exp(), after)
    return ((first + layer.d[rows].double() - 1).square() + tail).sqrt()


@torch.no_grad()
def hinf_norms(layer: SSMLayer) -> Tensor:
    """`hinf` of each of the layer's kept operators, float64 (kept,)."""
    own, rows = layer.operators, layer.kept_rows()
    direct = layer.d[rows].double() - 1
    if isinstance(own, S4Operators):
        return dense_peaks(own, rows, direct)
    return diagonal_peaks(*_poles_and_residues(own.discrete(rows)), direct)


def _scored(name: str, model: nn.Module, norms: Callable[[SSMLayer], Tensor]) -> list[np.ndarray]:
    scores = [scores_of_rows(layer, norms(layer)) for layer in ssm_layers(model).values()]
    return checked_scores(name, model, scores)


def _poles_and_residues(discrete: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """log a and r (H, M) complex128 of k[t] = 2 Re sum_m r_m a_m^t."""
    pole_re, pole_im, res_re, res_im = discrete
    return torch.complex(pole_re, pole_im), torch.complex(res_re, res_im)
