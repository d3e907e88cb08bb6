"""What Triton's statistics extension tells of a model."""

from __future__ import annotations

from typing import Any

from device_agent.statistics import BatchStatistics, Duration, Statistics

__all__ = ["statistics_of"]


def statistics_of(name: str, counted: Statistics) -> dict[str, Any]:
    """One element of `model_stats`; durations in ns, `last_inference` in ms since the epoch."""
    kinds = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    return {
        "name": name,
        "version": "1",
        "last_inference": counted.last_inference_ms,
        "inference_count": counted.inference_count,
        "execution_count": counted.execution_count,
        "inference_stats": {kind: _duration(getattr(counted, kind)) for kind in kinds} | _NO_CACHE,
        "response_stats": {},  # of models that answer a request several times
        "batch_stats": [_batch(batch) for batch in counted.batches],
        "memory_usage": [],
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}


_NO_CACHE = {"cache_hit": _duration(Duration()), "cache_miss": _duration(Duration())}


def _batch(batch: BatchStatistics) -> dict[str, Any]:
    return {
        "batch_size": batch.batch_size,
        "compute_input": _duration(batch.compute_input),
        "compute_infer": _duration(batch.compute_infer),
        "compute_output": _duration(batch.compute_output),
    }
