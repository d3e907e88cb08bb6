"""Looking at a model without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from host.models.classifier import Classifier
from host.models.layer import SSMLayer

__all__ = ["hooked", "undisturbed"]

_GATES = ((SSMLayer, "gate"), (Classifier, "feature_gate"))


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Within: eval mode, every gate open, no parameter asks for a gradient. Afterwards all is as it was.

    That includes modules whose mode differs from the model's (a frozen batch norm), and torch's random
    state, which a shuffled loader of calibration batches draws from.
    """
    modes = [(module, module.training) for module in model.modules()]
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gates = [
        (module, name, getattr(module, name))
        for module in model.modules()
        for kind, name in _GATES
        if isinstance(module, kind)
    ]
    with torch.random.fork_rng(devices=_cuda_devices(model)):
        try:
            model.eval()
            for parameter in asking:
                parameter.requires_grad_(False)
            for module, name, _ in gates:
                setattr(module, name, None)
            yield
        finally:
            for module, training in modes:
                module.training = training
            for parameter in asking:
                parameter.requires_grad_(True)
            for module, name, gate in gates:
                setattr(module, name, gate)


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Hooks that were just registered: removed at the end."""
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


def _cuda_devices(model: nn.Module) -> list[int]:
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    return sorted(device.index for device in devices)
