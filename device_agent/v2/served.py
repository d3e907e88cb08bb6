"""A served model as this package asks it."""

from __future__ import annotations

from device_agent.scheduler import Answered, Wanted
from device_agent.served import Served
from device_agent.serving import Serving

__all__ = ["Answered", "Served", "Wanted", "served_of"]


def served_of(serving: Serving, name: str) -> Served:
    """What answers under `name`. Raises UnknownModelError, RequestError 503."""
    return serving.model(name)
