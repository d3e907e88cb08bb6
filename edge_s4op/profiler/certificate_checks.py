"""What can be checked of a certificate: that it is whole and agrees with itself, the file and the samples."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import edge_s4op
from edge_s4op.artifact import sha256_of
from edge_s4op.messages import Certificate, Comparison, MeasurementResult
from edge_s4op.profiler.certificate_check import Check, all_equal, equal
from edge_s4op.profiler.certificate_samples import baseline_checks, sample_checks
from edge_s4op.profiler.compare import verdict_of
from edge_s4op.profiler.device import hashed_parts
from edge_s4op.profiler.statistics import Samples

__all__ = ["all_checks"]

_RELATIVE = 1e-9


def all_checks(
    certificate: Certificate,
    artifact: bytes | None,
    samples_ms: Samples | None,
    baseline_samples_ms: Samples | None,
) -> Iterator[Check]:
    """Every check in the order to read them."""
    result = certificate.result
    yield _digest(certificate)
    yield _device(certificate)
    yield _fingerprint(certificate)
    yield _artifact(certificate)
    yield _engine(certificate)
    yield _artifact_file(certificate, artifact)
    yield _statistics_order(result)
    yield _stop(result)
    yield from sample_checks(result, samples_ms)
    if result.comparison is not None:
        yield _verdict(result, result.comparison)
        yield from baseline_checks(result, result.comparison, samples_ms, baseline_samples_ms)


def _digest(certificate: Certificate) -> Check:
    what = "the digest is that of everything else"
    return equal("digest", what, certificate.digest, certificate.computed_digest())


def _device(certificate: Certificate) -> Check:
    stated, found = certificate.result.device_fingerprint, certificate.device.fingerprint
    return equal("device", "the measurement is of the device described", stated, found)


def _fingerprint(certificate: Certificate) -> Check:
    """What a fingerprint is a hash of may change with the version: only this version's is made again."""
    name, device = "fingerprint", certificate.device
    version = device.versions.get("edge-s4op")
    if version != edge_s4op.__version__:
        return Check(name, "not checked", f"edge-s4op {version} made it, this is {edge_s4op.__version__}")
    found = sha256_of(json.dumps(hashed_parts(device), sort_keys=True).encode())
    return equal(name, "the fingerprint is of the device described", device.fingerprint, found)


def _artifact(certificate: Certificate) -> Check:
    stated, found = certificate.result.request.artifact_sha256, certificate.artifact.sha256
    return equal("artifact", "the request names the file described", stated, found)


def _engine(certificate: Certificate) -> Check:
    engine = certificate.result.engine
    found = engine.engine_sha256 if engine else None
    return equal("engine", "the engine is the one that ran", certificate.engine_sha256, found)


def _artifact_file(certificate: Certificate, content: bytes | None) -> Check:
    name, what, stated = "file", "the file is the one measured", certificate.artifact
    if content is None:
        return Check(name, "not checked", "no file given")
    size_bytes = len(content) if stated.size_bytes is not None else None
    found = (sha256_of(content), size_bytes)
    pairs: dict[str, tuple[object, object]] = {
        "its SHA-256": (stated.sha256, found[0]),
        "its size": (stated.size_bytes, found[1]),
    }
    return all_equal(name, what, pairs)


def _statistics_order(result: MeasurementResult) -> Check:
    """Percentiles ascend and the intervals enclose them: what no samples can contradict."""
    latency = result.latency_ms
    ascending = [latency.minimum, latency.median, latency.p90, latency.p95, latency.p99]
    ascending += [latency.maximum] if latency.p99_9 is None else [latency.p99_9, latency.maximum]
    intervals = ((latency.median, latency.median_interval), (latency.p95, latency.p95_interval))
    sound = (
        ascending == sorted(ascending)
        and latency.minimum <= latency.mean <= latency.maximum
        and all(interval.low <= value <= interval.high for value, interval in intervals)
        and (latency.mean <= 0 or math.isclose(result.throughput_per_s, 1000 / latency.mean, rel_tol=1e-6))
    )
    what = "percentiles ascend, intervals enclose them, throughput is 1000 / mean"
    return Check("order", "ok" if sound else "failed", what if sound else f"not true: {what}")


def _stop(result: MeasurementResult) -> Check:
    latency, precision = result.latency_ms, result.request.precision
    interval = latency.median_interval
    width = max(latency.median - interval.low, interval.high - latency.median)
    asked = f"+-{precision:.3g} of the median"
    enough = width <= precision * latency.median * (1 + _RELATIVE)
    if result.stopped_by == "precision" and not enough:
        return Check("stop", "failed", f"stopped by precision, but the interval is wider than {asked}")
    if result.iterations < result.request.min_iterations and result.comparison is None:
        return Check("stop", "failed", f"{result.iterations} iterations are fewer than were asked for")
    reached = f"{asked} {'reached' if enough else 'not reached'}"
    return Check("stop", "ok", f"stopped by {result.stopped_by}, {reached}")


def _verdict(result: MeasurementResult, comparison: Comparison) -> Check:
    pairs: dict[str, tuple[object, object]] = {
        "the baseline": (comparison.baseline_sha256, result.request.baseline_sha256),
        "the verdict": (comparison.verdict, verdict_of(comparison.interval)),
        "the ratio in its interval": (
            True,
            comparison.interval.low <= comparison.ratio <= comparison.interval.high,
        ),
    }
    if comparison.round_sizes:
        pairs["the number of rounds"] = (comparison.rounds, len(comparison.round_sizes))
    return all_equal("verdict", "the verdict is what its interval says, on the baseline asked for", pairs)
