"""GET /v2/models/stats: what Triton's statistics extension tells of a model."""

from __future__ import annotations

from typing import Any

__all__ = ["statistics_of"]

_KINDS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


def statistics_of(name: str, statistics: Any) -> dict[str, Any]:
    """One element of `model_stats`; durations in ns, `last_inference` in ms since the epoch."""
    return {
        "name": name,
        "version": "1",
        "last_inference": 0,
        "inference_count": 0,
        "execution_count": 0,
        "inference_stats": {kind: {"count": 0, "ns": 0} for kind in _KINDS},
        "batch_stats": [],
        "memory_usage": [],
    }
