"""The SSM layers of any torch model: found, copied with the model, replaced in it, watched while it runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_s4op.errors import UsageError
from host.models.classifier import Classifier
from host.models.layer import SSMLayer, ssm_layers
from host.models.surgery import compact, compact_config, compact_layer
from host.pruning.plan import PrunePlan, plan_from_config

__all__ = [
    "LayerUse",
    "checked_layers",
    "copy_model",
    "current_plan",
    "cut",
    "layer_uses",
    "mark_ssm_parameters",
    "reference",
    "replaced",
]


@dataclass(frozen=True)
class LayerUse:
    """How one forward pass uses a layer: how often, and on sequences of which length (0: not at all)."""

    calls: int
    seq_len: int


def checked_layers(model: nn.Module) -> dict[str, SSMLayer]:
    """`ssm_layers(model)`. Raises UsageError when there is none."""
    layers = ssm_layers(model)
    if not layers:
        raise UsageError(
            f"a {type(model).__name__} without SSM layers cannot be pruned",
            expected="a torch model with at least one host.models.SSMLayer among its modules",
            found="none",
            fix="build its sequence layers from SSMLayer(d_model, kind='s4d'), registered as submodules",
        )
    return layers


def current_plan(model: nn.Module) -> PrunePlan:
    """What `model` keeps at present, masks and cuts included. Raises UsageError without SSM layers."""
    layers = tuple(checked_layers(model).values())
    if type(model) is Classifier:
        return plan_from_config(compact_config(model))
    states = tuple(layer.states() for layer in layers)
    whole = states == tuple(layer.d_state for layer in layers)
    return PrunePlan(
        num_channels=tuple(layer.num_channels for layer in layers),
        kept=tuple(layer.kept_operators() for layer in layers),
        states=None if whole else states,
    )


def copy_model(model: nn.Module) -> nn.Module:
    """`copy.deepcopy`, which drops the marks of the SSM parameters (torch 2.13), with these marks."""
    twin = copy.deepcopy(model)
    mark_ssm_parameters(twin)
    return twin


def reference(model: nn.Module) -> nn.Module:
    """A copy of `model` as files are held against: on the CPU, in float32, in eval mode."""
    return copy_model(model).cpu().float().eval()


def mark_ssm_parameters(model: nn.Module) -> None:
    """Mark dt, A, B and P of every layer as the optimiser is to find them (host.models.parameters)."""
    for layer in ssm_layers(model).values():
        for name in layer.operators.parameter_names:
            if name != "c":
                getattr(layer.operators, name)._ssm = True


def cut(model: nn.Module) -> nn.Module:
    """A copy of `model` without what is masked: same outputs, fewer parameters; `model` stays as it is.

    Every SSMLayer becomes one that holds its kept operators and states only, a Classifier among the modules
    also loses its masked channels. Raises UsageError without SSM layers.
    """
    checked_layers(model)
    twin = copy_model(model)
    classifiers = {m: compact(m) for m in twin.modules() if type(m) is Classifier}
    twin = replaced(twin, classifiers)
    return replaced(twin, {layer: compact_layer(layer) for layer in ssm_layers(twin).values()})


def replaced(model: nn.Module, instead: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """`model` with other modules in the place of some, wherever they are used; it is changed in place."""
    for parent in tuple(model.modules()):
        for name, child in tuple(parent.named_children()):
            if child in instead:
                setattr(parent, name, instead[child])
    return instead.get(model, model)


@torch.no_grad()
def layer_uses(model: nn.Module, args: Sequence[Tensor]) -> dict[str, LayerUse]:
    """How a forward pass over `args` uses each layer, by its path. Runs the model in the mode it is in.

    Raises UsageError for a layer that is given sequences of different lengths.
    """
    layers = checked_layers(model)
    lengths: dict[str, list[int]] = {path: [] for path in layers}

    def watch(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda layer, inputs, output: lengths[path].append(output.shape[-1])

    handles = [layer.register_forward_hook(watch(path)) for path, layer in layers.items()]
    try:
        model(*args)
    finally:
        for handle in handles:
            handle.remove()
    return {path: _use(path, seen) for path, seen in lengths.items()}


def _use(path: str, lengths: list[int]) -> LayerUse:
    if len(set(lengths)) > 1:
        raise UsageError(
            f"layer {path!r} is given sequences of different lengths in one pass",
            expected="one length, for which its kernel can be stored",
            found=sorted(set(lengths)),
            fix="use one SSMLayer for each length, or pad to the longest",
        )
    return LayerUse(len(lengths), lengths[0] if lengths else 0)
