"""Which states an operator can do without: every conjugate pair gets a score, and each keeps its best.

A score takes a layer and returns one float64 number per pair, (Hk, M), at least 0, higher = keep. It needs no
data: it looks at the operators' transfer functions alone. Scores of different operators are never compared,
as all operators of a layer keep the same number of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from edge_s4op.errors import UsageError
from host.models.layer import SSMLayer, ssm_layers
from host.models.s4 import S4Operators
from host.models.s4d import S4DOperators
from host.pruning.pair_gains import dplr_pair_gains, pair_gains
from host.pruning.pair_gramians import dense_pair_hankel, pair_hankel
from host.pruning.registry import Registry

__all__ = [
    "MODE_SCORES",
    "ModeScore",
    "balanced",
    "choose_layer_modes",
    "choose_modes",
    "hinf",
    "set_kept_modes",
]

ModeScore = Callable[[SSMLayer], Tensor]

MODE_SCORES: Registry[ModeScore] = Registry("mode score")


@MODE_SCORES.register("hinf")
def hinf(layer: SSMLayer) -> Tensor:
    """H-infinity norm of what the operator loses with the pair: the largest gain at any frequency, (Hk, M).

    ||G - G_without_m||_inf = max_w |G(e^iw) - G_without_m(e^iw)|: no input of energy one changes the output
    by more (Gwak et al. 2024, arXiv 2411.02824, score states so). S4D: exactly (`pair_gains`). S4: on a grid
    of frequencies, a lower bound (`dplr_pair_gains`).
    """
    own = layer.operators
    if isinstance(own, S4Operators):
        return dplr_pair_gains(own)
    return pair_gains(*_poles_and_residues(own))


@MODE_SCORES.register("balanced")
def balanced(layer: SSMLayer) -> Tensor:
    """Hankel singular value of the pair's own diagonal blocks of the two Gramians, (Hk, M).

    sigma_m = sqrt(lambda_max(P_mm Q_mm)), P and Q the operator's controllability and observability
    Gramians and mm the pair's 2 x 2 block. S4D's pairs do not act on each other: there this is the largest
    Hankel singular value of the pair as a system of its own, and sigma <= hinf <= 4 sigma. The lighter
    damped and the wider apart the pairs, the nearer these are to the operator's own singular values, and
    dropping the smallest to balanced truncation (Gregory 1984, J. Guidance 7(6), 725). S4's states are
    coupled by the low-rank part: there it says how strongly the pair as it stands is driven and read, and
    bounds nothing.
    """
    own = layer.operators
    if isinstance(own, S4Operators):
        with torch.no_grad():
            return dense_pair_hankel(*own.discrete())
    return pair_hankel(*_poles_and_residues(own))


def choose_modes(model: nn.Module, layer_modes: Sequence[int], score: str = "hinf") -> list[Tensor]:
    """The best `layer_modes[i]` pairs of every operator of layer i: one bool mask (Hk, M) per layer.

    S4D's pairs are scored once. S4's are coupled: every operator loses its worst and is scored again.
    Pairs that are masked already come after all others; equal scores keep the lower pair. The model is left
    as it was: `set_kept_modes` applies the masks. Raises UsageError for a number of layers or of modes that
    does not fit, UnknownNameError for the score.
    """
    layers = ssm_layers(model)
    if len(layers) != len(layer_modes):
        raise UsageError(
            "the numbers of modes do not fit the model",
            expected=f"one for each of {len(layers)} layers",
            found=list(layer_modes),
        )
    return [
        choose_layer_modes(layer, modes, score, where=f"layer {index}")
        for index, (layer, modes) in enumerate(zip(layers.values(), layer_modes, strict=True))
    ]


def set_kept_modes(model: nn.Module, masks: Sequence[Tensor]) -> None:
    """Mask the pairs that `choose_modes` left out. Raises ValueError as SSMLayer.set_kept_modes does."""
    for layer, mask in zip(ssm_layers(model).values(), masks, strict=True):
        layer.set_kept_modes(mask)


def choose_layer_modes(layer: SSMLayer, modes: int, score: str, *, where: str) -> Tensor:
    """`choose_modes` of one layer, which errors call `where`: (Hk, M) bool."""
    kept = layer.operators.kept_modes
    if not 1 <= modes <= kept.shape[1]:
        raise UsageError(
            f"{where}: an operator cannot keep so many states",
            expected=f"an even number within [2, {2 * kept.shape[1]}]: states go in conjugate pairs",
            found=2 * modes,
        )
    function, before = MODE_SCORES.get(score), kept.clone()
    step = 1 if isinstance(layer.operators, S4Operators) else kept.shape[1]
    try:
        count = layer.states() // 2
        while count != modes:
            count = modes if count < modes else max(modes, count - step)
            kept.copy_(_best(_finite(function(layer), where), kept, count))
        return kept.clone()
    finally:
        kept.copy_(before)


def _best(scores: Tensor, kept: Tensor, count: int) -> Tensor:
    """Bool (Hk, M): the `count` best of each row, those that are not `kept` last."""
    ranked = torch.argsort(scores.masked_fill(~kept, -1.0), dim=1, descending=True, stable=True)
    return torch.zeros_like(kept).scatter(1, ranked[:, :count], True)


def _finite(scores: Tensor, where: str) -> Tensor:
    if not torch.isfinite(scores).all():
        raise UsageError(
            f"{where}: an operator's states cannot be scored: its parameters are not finite",
            fix="prune a checkpoint whose training did not diverge",
        )
    return scores


@torch.no_grad()
def _poles_and_residues(own: S4DOperators) -> tuple[Tensor, Tensor]:
    """a = exp(dt A) and what C makes of it, (Hk, M) complex128: k[t] = 2 Re sum_m residue_m a_m^t."""
    pole_re, pole_im, res_re, res_im = own.discrete()
    return torch.polar(pole_re.exp(), pole_im), torch.complex(res_re, res_im)
