"""Measure a structure on every kind of device of a search, once, and put it into a trial's words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from edge_s4op.messages import Job
from host.family import Latency
from host.measuring import Measurement, MeasurementKey, key_of
from host.models.classifier import Classifier
from host.models.surgery import compact_config
from host.remeasuring import remeasured
from host.search.context import Search
from host.search.fleet import Kind
from host.search.progress import SearchProgress

__all__ = ["Measured", "known_measurement", "latency_of", "measure_models"]

Measured = tuple[Measurement, ...]
"""One measurement per kind of device, in the fleet's order."""


def measure_models(search: Search, models: Sequence[tuple[Classifier, SearchProgress]]) -> list[Measured]:
    """The measurements of these models' structures, each taken once; known ones are read from the cache.

    A structure that a device cannot measure is a Measurement with its error. Raises AgentError when an
    agent is lost for good or refuses, and ExportError.
    """
    missing = _missing(search, models)
    results = search.fleet.run([lambda m=m: _take(search, *m) for m in missing])  # type: ignore[misc]
    for (model, kind, _), result in zip(missing, results, strict=True):
        search.cache.put(_key(model, kind), result)
    fresh = [(id(model), kind) for model, kind, _ in missing]
    return [_known(search, model, at, fresh) for model, at in models]


def known_measurement(search: Search, key: MeasurementKey) -> Measurement | None:
    """What need not be measured: a disturbed one counts only where it was given its further chance, or none
    is wanted (`remeasure` 0). Raises CheckpointError."""
    return search.cache.settled(key) if search.options.remeasure else search.cache.get(key)


def _missing(
    search: Search, models: Sequence[tuple[Classifier, SearchProgress]]
) -> list[tuple[Classifier, Kind, SearchProgress]]:
    """What is not in the cache yet, each structure and kind of device once."""
    missing, keys = [], set()
    for model, at in models:
        for kind in search.fleet.kinds:
            key = _key(model, kind)
            if known_measurement(search, key) is None and key.sha256() not in keys:
                keys.add(key.sha256())
                missing.append((model, kind, at))
    return missing


def _take(search: Search, model: Classifier, kind: Kind, at: SearchProgress) -> Measurement:
    """Export and measure, and again while it is disturbed, as often as the options say. Raises AgentError."""
    search.report(at, phase="export")
    artifact = search.export(model)
    why: list[str] = []

    def follow(job: Job) -> None:
        stage = ": ".join([*why, job.stage or job.state]) if why else job.stage
        search.report(at, phase="measure", stage=stage, fraction=job.progress)

    def again(reasons: str) -> None:
        why[:] = [f"measuring again: {reasons}"]
        search.report(at, phase="measure", stage=why[0])

    take = partial(kind.measure, artifact, search.fleet.patience, follow)
    return remeasured(take, search.options.remeasure, again)


def _known(search: Search, model: Classifier, at: SearchProgress, fresh: list[tuple[int, Kind]]) -> Measured:
    known = []
    for kind in search.fleet.kinds:
        measurement = search.cache.get(_key(model, kind))
        assert measurement is not None
        known.append(measurement)
        phase = "measured" if (id(model), kind) in fresh else "reused"
        search.report(at, phase=phase, latency=latency_of(measurement), error=measurement.error)
    return tuple(known)


def _key(model: Classifier, kind: Kind) -> MeasurementKey:
    config = compact_config(model)
    kept_counts = tuple(map(len, config.kept_operators()))
    return key_of(config, kept_counts, kind.device.fingerprint, kind.settings)


def latency_of(measurement: Measurement) -> Latency | None:
    """What of a measurement a trial says; None when it failed."""
    result = measurement.result
    if result is None:
        return None
    return Latency(
        p50_ms=result.latency_ms.median,
        p95_ms=result.latency_ms.p95,
        p50_interval_ms=result.latency_ms.median_interval,
        p95_interval_ms=result.latency_ms.p95_interval,
        confidence=result.request.confidence,
        iterations=result.iterations,
        stopped_by=result.stopped_by,
        backend=result.request.backend,
        backend_version=result.backend_version,
        threads=result.request.threads,
        batch=result.request.batch,
        device_fingerprint=result.device_fingerprint,
        measurement_id=measurement.job_id,
        energy_mj=None if result.energy is None else result.energy.energy_mj,
        disturbed=tuple(f"{disturbance.kind}: {disturbance.what}" for disturbance in result.disturbed),
    )
