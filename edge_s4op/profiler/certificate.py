"""Certificates of measurements: made by the agent, read and verified anywhere, with or without raw data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pydantic

import edge_s4op
from edge_s4op.errors import CertificateError, UsageError
from edge_s4op.messages import ArtifactInfo, Certificate, CertifiedArtifact, DeviceFacts, Job
from edge_s4op.profiler.certificate_check import Check
from edge_s4op.profiler.certificate_checks import all_checks
from edge_s4op.profiler.statistics import Samples

__all__ = ["Verification", "make_certificate", "read_certificate", "verify"]

_SCHEMA_VERSION = 1
_NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class Verification:
    """All checks of one certificate, in order."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether none failed; what could not be checked does not count."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome == "failed")

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)


def make_certificate(
    job: Job,
    device: DeviceFacts,
    *,
    artifact: ArtifactInfo | None = None,
    agent_version: str = edge_s4op.__version__,
) -> Certificate:
    """The certificate of a job that succeeded on `device`; `artifact`: the measured file, if still there.

    Raises UsageError for a job without a result, or measured on a device that was not as `device` says.
    """
    if job.state != "succeeded" or job.result is None or job.finished_at is None:
        raise UsageError(
            f"measurement {job.id} has no certificate", expected="one that succeeded", found=job.state
        )
    if job.result.device_fingerprint != device.fingerprint:
        raise UsageError(
            f"measurement {job.id} was taken while the device was another",
            expected=f"fingerprint {device.fingerprint[:12]}, the device's now",
            found=job.result.device_fingerprint[:12],
            fix="set the device as it was then, or measure again",
        )
    made = Certificate(
        measurement_id=job.id,
        agent_version=agent_version,
        created_at=job.created_at,
        finished_at=job.finished_at,
        artifact=_certified(job.request.artifact_sha256, artifact),
        engine_sha256=job.result.engine.engine_sha256 if job.result.engine else None,
        device=device,
        result=job.result,
        digest=_NO_DIGEST,
    )
    whole = Certificate.model_validate_json(made.model_dump_json())  # every field set: the digest covers all
    return whole.model_copy(update={"digest": whole.computed_digest()})


def read_certificate(text: str | bytes) -> Certificate:
    """Parse a certificate; what it says is not yet verified. Raises CertificateError."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise CertificateError(f"this certificate is not JSON: {error}", fix="copy it again") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != _SCHEMA_VERSION or isinstance(version, bool):
        raise CertificateError(
            "this is no certificate of a schema this version knows",
            expected=f'an object with "schema_version": {_SCHEMA_VERSION}',
            found=f'"schema_version": {json.dumps(version)}' if isinstance(content, dict) else "no object",
            fix="verify it with the version of edge-s4op that wrote it",
        )
    try:
        return Certificate.model_validate_json(text)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise CertificateError(
            f"this certificate is not valid at {place}: {problem['msg']}",
            fix="it was cut or changed, or a newer edge-s4op wrote it",
        ) from error


def verify(
    certificate: Certificate,
    *,
    artifact: bytes | None = None,
    samples_ms: Samples | None = None,
    baseline_samples_ms: Samples | None = None,
) -> Verification:
    """Check a certificate against itself, and against the file and the raw samples as far as given.

    Passing means: nothing was changed since it was written, its parts agree with each other, its figures
    are those of the samples, its hashes those of the file. It does not prove who wrote it (there is no
    signature: whoever invents a measurement can invent a certificate), nor that clock and sensors were right.
    """
    return Verification(tuple(all_checks(certificate, artifact, samples_ms, baseline_samples_ms)))


def _certified(sha256: str, artifact: ArtifactInfo | None) -> CertifiedArtifact:
    if artifact is None:
        return CertifiedArtifact(sha256=sha256)
    if artifact.sha256 != sha256:
        raise UsageError("another file was measured", expected=sha256, found=artifact.sha256)
    return CertifiedArtifact(
        sha256=sha256, size_bytes=artifact.size_bytes, model_kind=artifact.manifest.model_kind
    )
