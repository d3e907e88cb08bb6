"""A certificate verifies as it was made, and whatever is changed in it is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_s4op.artifact import sha256_of
from edge_s4op.errors import CertificateError, UsageError
from edge_s4op.messages import (
    ArtifactInfo,
    Certificate,
    DeviceFacts,
    EngineInfo,
    Job,
    MeasurementRequest,
    MeasurementResult,
    SensorSummary,
    Telemetry,
)
from edge_s4op.profiler.certificate import make_certificate, read_certificate, verify
from edge_s4op.profiler.compare import comparison_of
from edge_s4op.profiler.deadline import deadline_of
from edge_s4op.profiler.device import device_facts
from edge_s4op.profiler.statistics import summarize
from edge_s4op.profiler.turns import Round, Turns
from tests.edge_s4op import tiny

FILE = tiny.linear_artifact()
BASELINE = "b" * 64
FACTS = device_facts({"onnxruntime": "1.0"}, Path("/nowhere"))
FINGERPRINT = FACTS.fingerprint
DEADLINE_MS = 1.6


def turns() -> Turns:
    rng = np.random.default_rng(0)
    parts = [1.5 * np.exp(0.05 * rng.standard_normal((2, 40))) for _ in range(12)]
    return Turns(tuple(Round(a, 1.2 * b, np.arange(40), np.arange(40)) for a, b in parts), 0, 1000.0)


TURNS = turns()
SAMPLES, BASELINE_SAMPLES = TURNS.samples_ms, TURNS.baseline_samples_ms


def facts(fingerprint: str = FINGERPRINT) -> DeviceFacts:
    return FACTS.model_copy(update={"fingerprint": fingerprint})


def finished(*, compared: bool = True, state: str = "succeeded") -> Job:
    request = MeasurementRequest(
        artifact_sha256=FILE.sha256,
        baseline_sha256=BASELINE if compared else None,
        deadline_ms=DEADLINE_MS,
        backend="onnxruntime",
    )
    return Job(
        id="job-1",
        state=state,
        request=request,
        position=None,
        progress=1.0,
        error=None,
        result=result_of(request) if state == "succeeded" else None,
        created_at="2026-01-02T03:04:05+00:00",
        finished_at="2026-01-02T03:04:09+00:00",
    )


def result_of(request: MeasurementRequest) -> MeasurementResult:
    latency_ms = summarize(SAMPLES, 0.95)
    return MeasurementResult(
        request=request,
        device_fingerprint=FINGERPRINT,
        backend_version="1.0",
        warmup_iterations=10,
        iterations=SAMPLES.size,
        stopped_by="precision",
        latency_ms=latency_ms,
        throughput_per_s=1000 / latency_ms.mean,
        samples_sha256=sha256_of(SAMPLES.astype("<f8").tobytes()),
        telemetry=telemetry(),
        deadline=deadline_of(SAMPLES, TURNS.at_ms, DEADLINE_MS),
        engine=engine(),
        comparison=comparison_of(TURNS, BASELINE) if request.baseline_sha256 else None,
    )


def telemetry() -> Telemetry:
    clock = SensorSummary(name="clock cpu", unit="MHz", minimum=1510, mean=1510, maximum=1510, readings=30)
    return Telemetry(period_ms=50.0, readings=30, sensors=(clock,))


def engine() -> EngineInfo:
    return EngineInfo(
        engine_sha256="e" * 64, key="k", plugin=None, note=None, cuda_graph=False, spin_wait=True
    )


def certificate(job: Job | None = None) -> Certificate:
    info = ArtifactInfo(sha256=FILE.sha256, size_bytes=FILE.size_bytes, manifest=FILE.manifest)
    return make_certificate(job or finished(), facts(), artifact=info, agent_version="1.2.3")


def changed(path: str, value: object, *, signed: bool = True) -> Certificate:
    """With the field at `path` changed; `signed`: and the digest made to fit, as a forger would."""
    content = json.loads(certificate().to_json())
    place: Any = content
    *folders, name = [int(part) if part.isdigit() else part for part in path.split(".")]
    for folder in folders:
        place = place[folder]
    assert place[name] != value
    place[name] = value
    made = read_certificate(json.dumps(content))
    return made.model_copy(update={"digest": made.computed_digest()}) if signed else made


def failures(made: Certificate) -> set[str]:
    found = verify(made, artifact=FILE.content, samples_ms=SAMPLES, baseline_samples_ms=BASELINE_SAMPLES)
    return {check.name for check in found.failed}


def test_a_certificate_verifies_against_file_and_samples_with_nothing_left_unchecked():
    found = verify(
        certificate(), artifact=FILE.content, samples_ms=SAMPLES, baseline_samples_ms=BASELINE_SAMPLES
    )
    assert found.passed
    assert {check.outcome for check in found} == {"ok"}, found
    assert len({check.name for check in found}) == len(found.checks)


def test_it_survives_being_written_and_read():
    made = certificate()
    text = made.to_json()
    assert read_certificate(text) == made
    assert read_certificate(text).to_json() == text
    assert read_certificate(json.dumps(json.loads(text), indent=7, sort_keys=True)) == made


def test_it_holds_what_one_needs_to_judge():
    made = certificate()
    assert (made.measurement_id, made.agent_version) == ("job-1", "1.2.3")
    assert made.artifact.size_bytes == FILE.size_bytes
    assert (made.artifact.model_kind, made.engine_sha256) == ("s4d", "e" * 64)
    assert (made.device, made.result) == (facts(), finished().result)


def test_what_is_not_given_is_not_checked_and_says_so():
    found = verify(certificate())
    assert found.passed
    unchecked = {check.name for check in found if check.outcome == "not checked"}
    samples = {"samples", "statistics", "deadline", "baseline samples", "baseline statistics", "comparison"}
    assert unchecked == {"file", *samples}


def test_without_a_comparison_or_a_kept_file_it_is_whole_too():
    made = make_certificate(finished(compared=False), facts())
    found = verify(made, artifact=FILE.content, samples_ms=SAMPLES)
    assert found.passed
    assert "verdict" not in {check.name for check in found}
    assert made.artifact.size_bytes is None


def test_one_made_before_fields_were_added_still_verifies():
    content = json.loads(certificate().to_json())
    del content["result"]["cooldown_ms"], content["result"]["repeats"], content["device"]["huge_pages"]
    old = read_certificate(json.dumps(content))
    assert failures(old) == {"digest"}
    old = old.model_copy(update={"digest": old.computed_digest()})  # as the earlier version made it
    assert not failures(read_certificate(old.to_json()))


UNSIGNED = [
    ("measurement_id", "job-2"),
    ("agent_version", "9"),
    ("created_at", "2025-01-02T03:04:05+00:00"),
    ("finished_at", "2027-01-02T03:04:05+00:00"),
    ("artifact.model_kind", "s4"),
    ("device.board", "Other"),
    ("device.clocks", {"cpu": "729 .. 1510 MHz"}),
    ("result.request.threads", 4),
    ("result.request.spin_wait", True),
    ("result.telemetry.sensors.0.minimum", 729.0),
    ("result.disturbed", [{"kind": "throttling", "what": "it was hot"}]),
    ("result.latency_ms.p99", 1.7),
    ("result.comparison.verdict", "slower"),
    ("result.deadline.clustered", True),
    ("digest", "0" * 64),
]


@pytest.mark.parametrize(("path", "value"), UNSIGNED)
def test_the_digest_finds_any_change(path: str, value: object):
    assert "digest" in failures(changed(path, value, signed=False))


FORGED: list[tuple[str, object, str]] = [
    ("result.device_fingerprint", "0" * 64, "device"),
    ("device.fingerprint", "0" * 64, "device"),
    ("device.fingerprint", "0" * 64, "fingerprint"),
    ("device.power_mode", "MAXN", "fingerprint"),
    ("device.clocks", {"gpu": "624 MHz"}, "fingerprint"),
    ("result.request.artifact_sha256", "0" * 64, "artifact"),
    ("artifact.sha256", "0" * 64, "file"),
    ("artifact.size_bytes", 1, "file"),
    ("engine_sha256", "0" * 64, "engine"),
    ("engine_sha256", None, "engine"),
    ("result.latency_ms.median", 0.1, "order"),
    ("result.latency_ms.median_interval.low", 2.0, "order"),
    ("result.throughput_per_s", 1e6, "order"),
    ("result.request.precision", 1e-6, "stop"),
    ("result.samples_sha256", "0" * 64, "samples"),
    ("result.iterations", 5000, "statistics"),
    *((f"result.latency_ms.{name}", 1.501, "statistics") for name in ("minimum", "mean", "median", "p95")),
    ("result.latency_ms.maximum", 9.0, "statistics"),
    ("result.latency_ms.median_interval.high", 1.6, "statistics"),
    ("result.latency_ms.p95_interval.high", 1.9, "statistics"),
    ("result.deadline.misses", 0, "deadline"),
    ("result.deadline.share", 0.0, "deadline"),
    ("result.deadline.share_interval.high", 0.01, "deadline"),
    ("result.deadline.longest_run", 99, "deadline"),
    ("result.deadline.clustered", True, "deadline"),
    ("result.deadline.p99_9_ms", 0.5, "deadline"),
    ("result.deadline.worst.index", -1, "deadline"),
    ("result.deadline.deadline_ms", 2.0, "deadline"),
    ("result.deadline.worst.latency_ms", 1.0, "deadline"),
    ("result.comparison.verdict", "not resolved", "verdict"),
    ("result.comparison.baseline_sha256", "0" * 64, "verdict"),
    ("result.comparison.ratio", 0.2, "verdict"),
    ("result.comparison.rounds", 99, "verdict"),
    ("result.comparison.interval.high", 0.99, "comparison"),
    ("result.comparison.interval.low", 0.5, "comparison"),
    ("result.comparison.round_sizes.0.0", 41, "comparison"),
    ("result.comparison.baseline_samples_sha256", "0" * 64, "baseline samples"),
    ("result.comparison.baseline_latency_ms.p90", 1.81, "baseline statistics"),
]


@pytest.mark.parametrize(("path", "value", "check"), FORGED)
def test_a_change_with_a_new_digest_contradicts_the_rest(path: str, value: object, check: str):
    found = failures(changed(path, value))
    assert check in found
    assert "digest" not in found


def test_a_fingerprint_of_another_version_is_not_checked():
    made = changed("device.versions.edge-s4op", "0.0.1")
    outcomes = {check.name: check.outcome for check in verify(made)}
    assert outcomes["fingerprint"] == "not checked"


def test_other_samples_and_another_file_are_found():
    made = certificate()
    fewer = verify(made, samples_ms=SAMPLES[:-1], baseline_samples_ms=BASELINE_SAMPLES)
    assert {"samples", "statistics", "comparison"} <= {check.name for check in fewer.failed}
    assert {check.name for check in verify(made, samples_ms=SAMPLES[::-1]).failed} == {"samples", "deadline"}
    assert not verify(made, samples_ms=np.array([])).passed
    assert {check.name for check in verify(made, artifact=FILE.content + b" ").failed} == {"file"}


def test_a_failed_check_says_what_it_found():
    check = next(iter(verify(changed("result.latency_ms.mean", 1.501), samples_ms=SAMPLES).failed))
    assert "throughput" in check.what
    assert "iterations is 5000, not 480" in " ".join(
        check.what for check in verify(changed("result.iterations", 5000), samples_ms=SAMPLES).failed
    )


@pytest.mark.parametrize("state", ["queued", "running", "failed", "cancelled"])
def test_only_a_measurement_that_succeeded_has_one(state: str):
    with pytest.raises(UsageError, match="job-1 has no certificate"):
        make_certificate(finished(state=state), facts())


def test_a_device_that_is_another_by_now_is_refused():
    with pytest.raises(UsageError, match="device was another"):
        make_certificate(finished(), facts("0" * 64))


def test_another_file_than_the_measured_one_is_refused():
    other = ArtifactInfo(sha256="0" * 64, size_bytes=1, manifest=FILE.manifest)
    with pytest.raises(UsageError, match="another file"):
        make_certificate(finished(), facts(), artifact=other)


Edit = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda content: content.update(schema_version=2), "schema"),
        (lambda content: content.update(schema_version=True), "schema"),
        (lambda content: content.pop("schema_version"), "schema"),
        (lambda content: content.pop("digest"), "digest"),
        (lambda content: content["result"].pop("latency_ms"), "result.latency_ms"),
        (lambda content: content["device"].update(colour="red"), "device.colour"),
        (lambda content: content["result"]["latency_ms"].update(median="fast"), "latency_ms.median"),
    ],
)
def test_what_is_no_certificate_is_an_error_that_says_where(edit: Edit, says: str):
    content = json.loads(certificate().to_json())
    edit(content)
    with pytest.raises(CertificateError, match=says):
        read_certificate(json.dumps(content))


@pytest.mark.parametrize("text", ["", "certificate", '{"schema_version": 1', b"\xff\xfe\x00"])
def test_what_is_not_json_is_an_error(text: str | bytes):
    with pytest.raises(CertificateError, match="not JSON"):
        read_certificate(text)


@pytest.mark.parametrize("text", ["[]", "null", "1"])
def test_json_that_is_no_object_is_an_error(text: str):
    with pytest.raises(CertificateError, match="no object"):
        read_certificate(text)
