"""One JSON that holds everything needed to judge a measurement later."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import Field

from edge_s4op.messages.base import SHA256_PATTERN, Message
from edge_s4op.messages.device import DeviceFacts
from edge_s4op.messages.measurement import MeasurementResult

__all__ = ["Certificate", "CertifiedArtifact"]


class CertifiedArtifact(Message):
    """The file that was measured; None where it was gone when the certificate was made."""

    sha256: str = Field(pattern=SHA256_PATTERN)
    size_bytes: int | None = None
    model_kind: str | None = None


class Certificate(Message):
    """A finished measurement, the file, the device, and a digest of all of it.

    `digest` is the SHA-256 of the canonical JSON of everything else: keys sorted, no blanks, UTF-8, floats
    as short as Python writes them. It shows that nothing was changed since, not who wrote it: nobody signs.
    """

    schema_version: Literal[1] = 1
    measurement_id: str
    agent_version: str
    created_at: str = Field(description="when it was asked for, UTC, ISO 8601")
    finished_at: str = Field(description="UTC, ISO 8601")
    artifact: CertifiedArtifact
    engine_sha256: str | None = Field(description="of the engine that ran; None: the backend builds none")
    device: DeviceFacts
    result: MeasurementResult = Field(description="request and modes, statistics, telemetry, samples' hash")
    digest: str = Field(pattern=SHA256_PATTERN)

    def computed_digest(self) -> str:
        """What `digest` must be.

        Of the fields that were read, so that a certificate older than some fields keeps its digest.
        """
        content = self.model_dump(mode="json", exclude={"digest"}, exclude_unset=True)
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> str:
        """Indented JSON that `read_certificate` reads back, digest and all."""
        return self.model_dump_json(indent=2, exclude_unset=True) + "\n"
