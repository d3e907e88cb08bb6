"""How much of what a block writes hangs on one of its operators, on calibration data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from host.models.classifier import Block, Classifier
from host.models.layer import SSMLayer, ssm_layers
from host.pruning.calibration import Calibration
from host.pruning.criteria.contract import CRITERIA, checked_scores, needed_data
from host.pruning.criteria.undisturbed import hooked, undisturbed

__all__ = ["output_change"]

_ELEMENTS = 1 << 17  # of z at a time: 512 KB, so that what is computed for one channel stays in the cache


@CRITERIA.register("output-change")
def output_change(
    model: nn.Module, calibration: Calibration | None, generator: np.random.Generator
) -> list[np.ndarray]:
    """E ||m(y) - m(y with channel h passed through)||^2 / E ||m(y)||^2; one (H,) per layer.

    In a Block (a Classifier's, or one in a model of one's own) m is what the block adds to the residual
    stream, GLU(W gelu(y) + b), and positions beyond a Classifier's `lengths` do not count. A layer that is
    in no Block is followed by something unknown: there m(y) = gelu(y) of that layer alone, every position
    counts. That a unit is worth what its removal changes in the next output is the rule of ThiNet (Luo et
    al. 2017, arXiv 1707.06342).

    Exact, without running the block H times: passing h through moves z = W gelu(y) + b by W[:, h] delta,
    delta = gelu(u_h) - gelu(y_h), so that only the GLU is computed anew: H^2 gates a position, about 1.6 ns
    each on two x86 cores. Where H and L are large, score on a few hundred samples.
    Dropout is off and batch norm uses its running statistics.
    Raises UsageError without data, and when the scores are not finite.
    """
    data = needed_data("output-change", calibration)
    sums = {layer: _Sums.of(layer) for layer in ssm_layers(model).values()}
    with undisturbed(model), torch.no_grad(), _watched(model, sums):
        for _ in data.losses(model):
            pass
    return checked_scores("output-change", model, [own.relative() for own in sums.values()])


@dataclass
class _Sums:
    """Sums of squares over all batches so far: per channel (H,) of the change, and of all that is written."""

    change: Tensor
    whole: Tensor

    @classmethod
    def of(cls, layer: SSMLayer) -> _Sums:
        zeros = layer.d.new_zeros(layer.num_channels, dtype=torch.float64)
        return cls(zeros, zeros.new_zeros(()))

    def relative(self) -> Tensor:
        """(H,); 0 where nothing is written and nothing changes."""
        return self.change / torch.where(self.whole == 0, 1.0, self.whole)


@dataclass
class _Seen:
    """What a forward pass has shown so far."""

    lengths: Tensor | None = None  # (B,), of the Classifier that is running
    inside: dict[SSMLayer, tuple[Tensor, Tensor]] = field(default_factory=dict)  # u, y of layers in Blocks


def _watched(model: nn.Module, sums: dict[SSMLayer, _Sums]) -> Any:
    """Hooks that add every call of every layer to `sums`."""
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    in_blocks = {block.ssm for block in blocks}
    seen = _Seen()

    def layer_ran(layer: SSMLayer, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> None:
        u = args[0] if args else kwargs["u"]
        if layer in in_blocks:
            seen.inside[layer] = (u, y)
        else:
            _add_layer(sums[layer], u, y)

    def block_ran(block: Block, args: tuple[Any, ...], kwargs: dict[str, Any], _: Tensor) -> None:
        features = args[1] if len(args) > 1 else kwargs.get("features")
        _add_block(sums[block.ssm], block, *seen.inside.pop(block.ssm), features, seen.lengths)

    def classifier_starts(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.lengths = args[1] if len(args) > 1 else kwargs.get("lengths")

    def classifier_ran(*_: Any) -> None:
        seen.lengths = None

    handles = [layer.register_forward_hook(layer_ran, with_kwargs=True) for layer in sums]
    handles += [block.register_forward_hook(block_ran, with_kwargs=True) for block in blocks]
    for module in model.modules():
        if isinstance(module, Classifier):
            handles.append(module.register_forward_pre_hook(classifier_starts, with_kwargs=True))
            handles.append(module.register_forward_hook(classifier_ran))
    return hooked(handles)


def _add_layer(sums: _Sums, u: Tensor, y: Tensor) -> None:
    """A layer on its own: u and y (B, H, L)."""
    y = functional.gelu(y)
    sums.change += (y - functional.gelu(u.to(y.dtype))).double().square().sum(dim=(0, 2))
    sums.whole += y.double().square().sum()


def _add_block(
    sums: _Sums, block: Block, u: Tensor, y: Tensor, features: Tensor | None, lengths: Tensor | None
) -> None:
    """A layer in its block: u and y (B, H, L), features (H,) or (B, H), lengths (B,)."""
    with torch.autocast(y.device.type, enabled=False):
        weight = block.mix.weight[..., 0]  # (2H, H)
        active = functional.gelu(y.to(weight.dtype))
        delta = functional.gelu(u.to(weight.dtype)) - active
        scale = None if features is None else features.expand(len(y), -1)[..., None].expand_as(y)
        real = None if lengths is None else torch.arange(y.shape[-1], device=y.device) < lengths[:, None]
        active, delta, scale = (_positions(x, real) for x in (active, delta, scale))
        columns = max(1, _ELEMENTS // len(weight))
        for start in range(0, active.shape[1], columns):
            part = slice(start, start + columns)
            of_part = None if scale is None else scale[:, part]
            z = weight @ active[:, part] + block.mix.bias[:, None]  # (2H, P)
            _add_positions(sums, weight, z, delta[:, part], of_part)


def _positions(x: Tensor | None, real: Tensor | None) -> Tensor | None:
    """(B, H, L) -> (H, P): the positions where `real` (B, L) is true, of all samples side by side."""
    if x is None:
        return None
    x = x.transpose(0, 1)
    return x.flatten(1) if real is None else x[:, real]


def _add_positions(sums: _Sums, weight: Tensor, z: Tensor, delta: Tensor, scale: Tensor | None) -> None:
    """P positions: z (2H, P) before the GLU, delta (H, P) what each channel's activation would move by."""
    value, gate = z.chunk(2)
    written = value * gate.sigmoid()
    sums.whole += (written if scale is None else written * scale).double().square().sum()
    for channel, moved in enumerate(delta):
        to_value, to_gate = weight[:, channel, None].chunk(2)  # (H, 1)
        change = torch.addcmul(value, to_value, moved)
        change.mul_(torch.addcmul(gate, to_gate, moved).sigmoid_()).sub_(written)
        if scale is not None:
            change.mul_(scale)
        sums.change[channel] += change.square_().sum()
