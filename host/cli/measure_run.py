"""The measurement behind `s4op measure`: upload, measure, fetch the samples and what the device is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_s4op.artifact import Artifact, read_artifact
from edge_s4op.client import AgentClient
from edge_s4op.errors import UsageError
from edge_s4op.messages import DeviceFacts, Job, MeasurementRequest, MeasurementResult

__all__ = ["Taken", "read_baseline", "take"]


@dataclass(frozen=True)
class Taken:
    """A finished measurement, its samples in the order taken, and the device just after it."""

    job_id: str
    result: MeasurementResult
    samples_ms: npt.NDArray[np.float64]
    baseline_samples_ms: npt.NDArray[np.float64] | None
    facts: DeviceFacts

    def values(self) -> dict[str, Any]:
        """For scripts: the result, and what it was measured on."""
        measured, device = self.result.model_dump(mode="json"), self.facts.model_dump(mode="json")
        return {"measurement_id": self.job_id, **measured, "device": device}


def take(
    client: AgentClient,
    artifact: Artifact,
    baseline: Artifact | None,
    request: MeasurementRequest,
    on_progress: Callable[[Job], None],
) -> Taken:
    """Upload, measure, get the samples. Raises what `AgentClient.measure` raises."""
    jobs: list[Job] = []

    def follow(job: Job) -> None:
        jobs[:] = [job]
        on_progress(job)

    if baseline is not None:
        client.put_artifact(baseline)
    measured = client.measure(artifact, request, on_progress=follow)
    samples = client.samples(jobs[0].id)
    other = samples.baseline_samples_ms
    return Taken(
        job_id=jobs[0].id,
        result=measured,
        samples_ms=np.array(samples.samples_ms),
        baseline_samples_ms=None if other is None else np.array(other),
        facts=client.device(),
    )


def read_baseline(path: Path, artifact: Artifact) -> Artifact:
    """The model to compare with. Raises UsageError when it takes other inputs, ArtifactError."""
    other = read_artifact(path)
    if _inputs(other) != _inputs(artifact):
        raise UsageError(
            f"--baseline: {path} takes other inputs than the model",
            expected=_inputs(artifact),
            found=_inputs(other),
            fix="compare models of one task",
        )
    return other


def _inputs(artifact: Artifact) -> str:
    return ", ".join(f"{t.name}:{t.datatype}{list(t.shape)}" for t in artifact.manifest.inputs)
