"""Measuring on the device: what it is, when to stop, what the samples say."""

from __future__ import annotations

from edge_s4op.profiler.device import device_facts
from edge_s4op.profiler.measure import CANCELLED, Measured, measure, samples_sha256
from edge_s4op.profiler.statistics import percentile, quantile_interval, summarize

__all__ = [
    "CANCELLED",
    "Measured",
    "device_facts",
    "measure",
    "percentile",
    "quantile_interval",
    "samples_sha256",
    "summarize",
]
