"""`s4op measure`: the latency of a model file on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edge_s4op.artifact import read_artifact
from edge_s4op.client import AgentClient
from edge_s4op.files import write_text
from edge_s4op.messages import EngineInfo, Job, MeasurementRequest, MeasurementResult, Parts
from host.cli.console import emit_json, log, result
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

__all__ = ["ModelFile", "measure_command"]

ModelFile = Annotated[Path, typer.Argument(help="An ONNX file written by `s4op export` or `s4op prune`.")]


def measure_command(
    model: ModelFile,
    agent: AgentUrl = DEFAULT_AGENT,
    backend: BackendName = None,
    threads: Threads = 1,
    batch: Annotated[int, typer.Option(help="Sequences an inference.")] = 1,
    precision: Precision = 0.02,
    max_duration_ms: MaxDuration = 3000.0,
    warmup_ms: Annotated[float, typer.Option("--warmup-ms", help="Run this long before measuring.")] = 200.0,
    samples: Annotated[Path | None, typer.Option(help="Also write every latency, ms, one a line.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the latency of a model file on the device.

    The file is sent to the agent, which runs it until the median is known precisely enough; the figures are
    printed with their confidence intervals.

    Example: s4op measure runs/pruned/models/keep-0.50/model.onnx --agent http://jetson:8600
    """
    artifact = read_artifact(model)
    values = {"backend": backend, "threads": threads, "batch": batch, "precision": precision}
    times = {"max_duration_ms": max_duration_ms, "warmup_ms": warmup_ms}
    request = checked(MeasurementRequest, {"artifact_sha256": artifact.sha256, **values, **times})
    jobs: list[Job] = []
    with AgentClient.connect(agent) as client, measuring_bar(f"measuring {model.name}") as follow:

        def note(job: Job) -> None:
            jobs[:] = [job]
            follow(job)

        measured = client.measure(artifact, request, on_progress=note)
    if as_json:
        emit_json({"measurement_id": jobs[0].id, **measured.model_dump(mode="json")})
    else:
        _show(measured)
    if samples is not None:
        _write_samples(agent, jobs[0].id, samples)


def _write_samples(agent: str, job_id: str, path: Path) -> None:
    with AgentClient.connect(agent) as client:
        taken = client.samples(job_id).samples_ms
    write_text(path, "".join(f"{value:.6f}\n" for value in taken))


def _show(measured: MeasurementResult) -> None:
    ms = measured.latency_ms
    table = Table("latency", "ms", "95 % interval" if measured.request.confidence == 0.95 else "interval")
    intervals = {"median": ms.median_interval, "p95": ms.p95_interval}
    for name in ("minimum", "mean", "median", "p90", "p95", "p99", "maximum"):
        interval = intervals.get(name)
        shown = "" if interval is None else f"{interval.low:.4f} .. {interval.high:.4f}"
        table.add_row(name, f"{getattr(ms, name):.4f}", shown)
    result.print(table)
    log.print(
        f"{measured.iterations} runs, batch {measured.request.batch}, {measured.request.threads} thread(s), "
        f"{measured.request.backend} {measured.backend_version}, {measured.throughput_per_s:.1f} runs/s, "
        f"stopped by {measured.stopped_by}"
    )
    if measured.parts is not None:
        log.print(f"of that, median ms: {_parts(measured.parts)}")
    if measured.engine is not None:
        log.print(_engine(measured.engine))


def _parts(parts: Parts) -> str:
    named = {
        "copying in": parts.h2d_ms,
        "computing": parts.compute_ms,
        "copying out": parts.d2h_ms,
        "launching (beside them)": parts.enqueue_ms,
    }
    return ", ".join(f"{name} {part.median:.4f}" for name, part in named.items())


def _engine(engine: EngineInfo) -> str:
    """What ran, and what is not as one might expect."""
    plugin = f"SSMConv plugin {engine.plugin}" if engine.plugin else "no SSMConv plugin"
    graph = "CUDA graph" if engine.cuda_graph else "no CUDA graph"
    return f"engine {engine.key[:12]}: {plugin}, {graph}" + (f"; {engine.note}" if engine.note else "")
