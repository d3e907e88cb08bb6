"""Masks that checkpoints carry, and that checkpoints from before them may lack."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

__all__ = ["register_mask"]


def register_mask(module: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    """Give `module` a persistent bool buffer `name`, all true; loaded weights without it leave it so."""
    module.register_buffer(name, torch.ones(shape, dtype=torch.bool))
    module.register_load_state_dict_pre_hook(functools.partial(_fill_in, name))


def _fill_in(name: str, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    state.setdefault(prefix + name, torch.ones_like(getattr(module, name)))
