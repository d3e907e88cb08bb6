"""Whether what a certificate states is what its raw samples give: hashes, statistics, misses, comparison."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_s4op.artifact import sha256_of
from edge_s4op.errors import MeasurementError
from edge_s4op.messages import Comparison, LatencyStatistics, MeasurementResult
from edge_s4op.profiler.certificate_check import Check, all_equal, equal
from edge_s4op.profiler.compare import compare
from edge_s4op.profiler.deadline import deadline_of
from edge_s4op.profiler.statistics import Samples, summarize

__all__ = ["baseline_checks", "sample_checks"]


def sample_checks(result: MeasurementResult, samples_ms: Samples | None) -> Iterator[Check]:
    """Hash, statistics and deadline of the model's samples."""
    if samples_ms is None:
        yield Check("samples", "not checked", "no samples given")
        yield Check("statistics", "not checked", "no samples given")
        if result.deadline is not None:
            yield Check("deadline", "not checked", "no samples given")
        return
    samples_ms = np.asarray(samples_ms, dtype=np.float64)
    found = _hash(samples_ms)
    yield equal("samples", "the samples are those measured", result.samples_sha256, found)
    counts: dict[str, tuple[object, object]] = {"iterations": (result.iterations, samples_ms.size)}
    yield _statistics("statistics", result.latency_ms, samples_ms, result.request.confidence, counts)
    if result.deadline is not None:
        yield _deadline(result, samples_ms)


def _statistics(
    name: str,
    stated: LatencyStatistics,
    samples_ms: Samples,
    confidence: float,
    more: dict[str, tuple[object, object]],
) -> Check:
    what = "the statistics are those of the samples"
    try:
        found = summarize(samples_ms, confidence)
    except MeasurementError as error:
        return Check(name, "failed", f"{what}: {error}")
    pairs = {**more, **_flat_pairs(stated, found)}
    return all_equal(name, what, pairs)


def _flat_pairs(stated: LatencyStatistics, found: LatencyStatistics) -> dict[str, tuple[object, object]]:
    """Every figure stated beside the one found; those None, of an earlier version, are left out."""
    pairs: dict[str, tuple[object, object]] = {}
    for field in LatencyStatistics.model_fields:
        ours, theirs = getattr(stated, field), getattr(found, field)
        if field.endswith("_interval"):
            pairs |= {f"{field}.{end}": (getattr(ours, end), getattr(theirs, end)) for end in ("low", "high")}
        elif ours is not None:
            pairs[field] = (ours, theirs)
    return pairs


def _deadline(result: MeasurementResult, samples_ms: Samples) -> Check:
    """All but when the worst ended, and what the board did then: samples do not tell."""
    stated = result.deadline
    assert stated is not None
    name, what = "deadline", "the misses are those of the samples"
    if samples_ms.size == 0:
        return Check(name, "failed", f"{what}: there are none")
    found = deadline_of(samples_ms, np.zeros_like(samples_ms), stated.deadline_ms)
    fields = ("misses", "share", "longest_run", "clustered", "p99_9_ms")
    pairs: dict[str, tuple[object, object]] = {
        field: (getattr(stated, field), getattr(found, field)) for field in fields
    }
    pairs |= {
        "deadline_ms": (stated.deadline_ms, result.request.deadline_ms),
        "share_interval.low": (stated.share_interval.low, found.share_interval.low),
        "share_interval.high": (stated.share_interval.high, found.share_interval.high),
        "worst.index": (stated.worst.index, found.worst.index),
        "worst.latency_ms": (stated.worst.latency_ms, found.worst.latency_ms),
    }
    return all_equal(name, what, pairs)


def baseline_checks(
    result: MeasurementResult,
    comparison: Comparison,
    samples_ms: Samples | None,
    baseline_ms: Samples | None,
) -> Iterator[Check]:
    """Hash and statistics of the baseline's samples, and the comparison from both's."""
    names = ("baseline samples", "baseline statistics")
    if baseline_ms is None:
        yield from (Check(name, "not checked", "no samples of the baseline given") for name in names)
    else:
        baseline_ms = np.asarray(baseline_ms, dtype=np.float64)
        stated, found = comparison.baseline_samples_sha256, _hash(baseline_ms)
        yield equal(names[0], "the baseline's samples are those measured", stated, found)
        confidence = result.request.confidence
        yield _statistics(names[1], comparison.baseline_latency_ms, baseline_ms, confidence, {})
    yield _comparison(result, comparison, samples_ms, baseline_ms)


def _comparison(
    result: MeasurementResult,
    comparison: Comparison,
    samples_ms: Samples | None,
    baseline_ms: Samples | None,
) -> Check:
    """The ratio and its interval once more, from both's samples cut into rounds."""
    name, what = "comparison", "ratio and interval are those of the samples"
    if samples_ms is None or baseline_ms is None or not comparison.round_sizes:
        return Check(name, "not checked", "it needs the samples of both, and the sizes of the rounds")
    sizes = np.array(comparison.round_sizes)
    if tuple(sizes.sum(axis=0)) != (len(samples_ms), len(baseline_ms)):
        return Check(name, "failed", f"{what}: the rounds have not as many samples")
    cuts = np.cumsum(sizes, axis=0)[:-1]
    rounds = zip(np.split(samples_ms, cuts[:, 0]), np.split(baseline_ms, cuts[:, 1]), strict=True)
    try:
        _, ratio, interval = compare(list(rounds), result.request.confidence)
    except MeasurementError as error:
        return Check(name, "failed", f"{what}: {error}")
    pairs: dict[str, tuple[object, object]] = {
        "ratio": (comparison.ratio, ratio),
        "interval.low": (comparison.interval.low, interval.low),
        "interval.high": (comparison.interval.high, interval.high),
    }
    return all_equal(name, what, pairs)


def _hash(samples_ms: Samples) -> str:
    return sha256_of(samples_ms.astype("<f8").tobytes())
