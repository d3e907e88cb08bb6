"""`s4op measure`: the latency of a model file on the device."""

from __future__ import annotations

from pathlib import Path

from edge_s4op.artifact import read_artifact
from edge_s4op.client import AgentClient
from edge_s4op.errors import UsageError
from edge_s4op.files import write_text
from edge_s4op.messages import MeasurementRequest
from host.cli import measure_options as of
from host.cli.console import emit_json, result
from host.cli.measure_against import Earlier
from host.cli.measure_certificate import verify_command
from host.cli.measure_outputs import baseline_file, check_outputs, write_samples
from host.cli.measure_run import Taken, read_baseline, take
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
    certificate: of.CertificateFile = None,
    against: of.Against = None,
    verify: of.Verify = None,
    as_json: Json = False,
) -> None:
    """Measure the latency of a model file on the device.

    The file is sent to the agent, which runs it until the median is known precisely enough; the figures are
    printed with their confidence intervals, and with all that makes them doubtful. --verify checks an earlier
    measurement's certificate instead, without an agent.

    Example: s4op measure runs/pruned/models/keep-0.50/model.onnx --agent http://jetson:8600
    """
    written: dict[str, Path | None] = {"--png": png, "--certificate": certificate}
    if verify is not None:
        _only_verifying({**written, "--baseline": baseline, "--against": against})
        verify_command(verify, model, samples, as_json)
        return
    if model is None:
        raise UsageError("MODEL is missing", fix="name a model file, or a certificate with --verify")
    if baseline is not None and rebuilds > 1:
        raise UsageError("--baseline and --rebuilds exclude each other", fix="ask one after the other")
    others = None if samples is None or baseline is None else baseline_file(samples)
    check_outputs(
        {"--samples": samples, "--samples of the baseline": others, **written}, [model, baseline, against]
    )
    earlier = None if against is None else Earlier.read(against)
    artifact = read_artifact(model)
    compared = None if baseline is None else read_baseline(baseline, artifact)
    request = _request(
        artifact_sha256=artifact.sha256,
        baseline_sha256=None if compared is None else compared.sha256,
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
    with AgentClient.connect(agent) as client:
        if earlier is not None:
            earlier.check_before(client.device())
        with measuring_bar(f"measuring {model.name}") as follow:
            taken = take(client, artifact, compared, request, follow)
        _print(taken, earlier, "" if baseline is None else baseline.name, as_json)
        if certificate is not None:
            write_text(certificate, client.certificate(taken.job_id).to_json())
    if samples is not None:
        write_samples(samples, taken.samples_ms)
    if others is not None and taken.baseline_samples_ms is not None:
        write_samples(others, taken.baseline_samples_ms)
    if png is not None:
        write_picture(taken.result, taken.samples_ms, png, model.name)


def _only_verifying(unwanted: dict[str, Path | None]) -> None:
    """Raise UsageError for an option that --verify has no use for."""
    for option, value in unwanted.items():
        if value is not None:
            raise UsageError(f"--verify measures nothing: {option} does not go with it", fix=f"drop {option}")


def _request(**values: object) -> MeasurementRequest:
    """What is asked of the agent. Raises UsageError that names the option."""
    return checked(MeasurementRequest, values)


def _print(taken: Taken, earlier: Earlier | None, baseline: str, as_json: bool) -> None:
    """The measurement, and the earlier one beside it. Raises, after printing, where they do not compare."""
    if as_json:
        emit_json({**taken.values(), **({} if earlier is None else earlier.values(taken.result))})
    else:
        for piece in shown(taken.result, taken.samples_ms, taken.facts, baseline):
            result.print(piece)
    if earlier is not None:
        earlier.check_after(taken)
        if not as_json:
            result.print(earlier.words(taken.result))
