"""`s4op measure`: the latency of a model file on the device."""

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
from host.cli import measure_options as of
from host.cli.console import emit_json, result
from host.cli.measure_outputs import check_outputs, write_samples
from host.cli.options import (
    DEFAULT_AGENT,
    AgentUrl,
    BackendName,
    Json,
    MaxDuration,
    Precision,
    Threads,
    checked,
)
from host.cli.progress import measuring_bar
from host.measure_view import shown, write_picture

__all__ = ["measure_command"]


def measure_command(
    model: of.OptionalModelFile = None,
    agent: AgentUrl = DEFAULT_AGENT,
    backend: BackendName = None,
    threads: Threads = 1,
    batch: of.Batch = 1,
    precision: Precision = 0.02,
    confidence: of.Confidence = 0.95,
    max_duration_ms: MaxDuration = 3000.0,
    min_duration_ms: of.MinDuration = 500.0,
    min_iterations: of.MinIterations = 10,
    warmup_ms: of.Warmup = 200.0,
    max_warmup_ms: of.MaxWarmup = 5000.0,
    cooldown_ms: of.Cooldown = 10_000.0,
    transfers: of.Transfers = True,
    spin_wait: of.SpinWait = None,
    cuda_graph: of.CudaGraph = None,
    layers: of.LayerTimes = True,
    deadline_ms: of.DeadlineMs = None,
    baseline: of.Baseline = None,
    rebuilds: of.Rebuilds = 1,
    priority: of.Priority = 0,
    samples: of.SamplesFile = None,
    png: of.Picture = None,
    as_json: Json = False,
) -> None:
    """Measure the latency of a model file on the device.

    The file is sent to the agent, which runs it until the median is known precisely enough; the figures are
    printed with their confidence intervals, and with all that makes them doubtful.

    Example: s4op measure runs/pruned/models/keep-0.50/model.onnx --agent http://jetson:8600
    """
    if model is None:
        raise UsageError("MODEL is missing", fix="name a model file, or a certificate with --verify")
    if baseline is not None and rebuilds > 1:
        raise UsageError("--baseline and --rebuilds exclude each other", fix="ask one after the other")
    check_outputs({"--samples": samples, "--png": png}, [model, baseline])
    artifact = read_artifact(model)
    other = None if baseline is None else _baseline(baseline, artifact)
    request = _request(
        artifact_sha256=artifact.sha256,
        baseline_sha256=None if other is None else other.sha256,
        backend=backend,
        threads=threads,
        batch=batch,
        precision=precision,
        confidence=confidence,
        max_duration_ms=max_duration_ms,
        min_duration_ms=min_duration_ms,
        min_iterations=min_iterations,
        warmup_ms=warmup_ms,
        max_warmup_ms=max_warmup_ms,
        cooldown_max_ms=cooldown_ms,
        transfers=transfers,
        spin_wait=spin_wait,
        cuda_graph=cuda_graph,
        layers=layers,
        deadline_ms=deadline_ms,
        rebuilds=rebuilds,
        priority=priority,
    )
    with AgentClient.connect(agent) as client, measuring_bar(f"measuring {model.name}") as follow:
        taken = _take(client, artifact, other, request, follow)
    if as_json:
        emit_json(taken.values())
    else:
        than = "" if baseline is None else baseline.name
        for piece in shown(taken.result, taken.samples_ms, taken.facts, than):
            result.print(piece)
    if samples is not None:
        write_samples(samples, taken.samples_ms)
    if png is not None:
        write_picture(taken.result, taken.samples_ms, png, model.name)


@dataclass(frozen=True)
class _Taken:
    """A measurement, its samples in the order taken, and the device as it was then."""

    job_id: str
    result: MeasurementResult
    samples_ms: npt.NDArray[np.float64]
    facts: DeviceFacts

    def values(self) -> dict[str, Any]:
        """For scripts: the result, and what it was measured on."""
        measured, device = self.result.model_dump(mode="json"), self.facts.model_dump(mode="json")
        return {"measurement_id": self.job_id, **measured, "device": device}


def _request(**values: object) -> MeasurementRequest:
    """What is asked of the agent. Raises UsageError that names the option."""
    return checked(MeasurementRequest, values)


def _take(
    client: AgentClient,
    artifact: Artifact,
    baseline: Artifact | None,
    request: MeasurementRequest,
    follow: Callable[[Job], None],
) -> _Taken:
    """Upload, measure, get the samples. Raises what `AgentClient.measure` raises."""
    jobs: list[Job] = []

    def note(job: Job) -> None:
        jobs[:] = [job]
        follow(job)

    if baseline is not None:
        client.put_artifact(baseline)
    measured = client.measure(artifact, request, on_progress=note)
    samples = client.samples(jobs[0].id)
    return _Taken(jobs[0].id, measured, np.array(samples.samples_ms), client.device())


def _baseline(path: Path, artifact: Artifact) -> Artifact:
    """The model to compare with. Raises UsageError when it takes other inputs, ArtifactError."""
    other = read_artifact(path)
    mine, its = ([(t.name, t.datatype, t.shape) for t in a.manifest.inputs] for a in (artifact, other))
    if mine != its:
        raise UsageError(
            f"--baseline: {path} takes other inputs than the model",
            expected=_inputs(artifact),
            found=_inputs(other),
            fix="compare models of one task",
        )
    return other


def _inputs(artifact: Artifact) -> str:
    return ", ".join(f"{t.name}:{t.datatype}{list(t.shape)}" for t in artifact.manifest.inputs)
