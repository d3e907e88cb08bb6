"""/v2: the Open Inference Protocol over HTTP, as Triton Inference Server speaks it."""

from __future__ import annotations

__all__: list[str] = []
