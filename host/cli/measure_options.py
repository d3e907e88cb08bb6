"""The options of `s4op measure` that no other command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Against",
    "Baseline",
    "Batch",
    "CertificateFile",
    "Confidence",
    "Cooldown",
    "CudaGraph",
    "DeadlineMs",
    "LayerTimes",
    "MaxWarmup",
    "MinDuration",
    "MinIterations",
    "ModelFile",
    "OptionalModelFile",
    "Picture",
    "Priority",
    "Rebuilds",
    "SamplesFile",
    "SpinWait",
    "Transfers",
    "Verify",
    "Warmup",
]

_MODEL = typer.Argument(help="An ONNX file written by `s4op export` or `s4op prune`.")

ModelFile = Annotated[Path, _MODEL]
OptionalModelFile = Annotated[Path | None, _MODEL]
Batch = Annotated[int, typer.Option(help="Sequences an inference.")]

Warmup = Annotated[float, typer.Option("--warmup-ms", help="Run at least this long before measuring.")]
MaxWarmup = Annotated[
    float, typer.Option("--max-warmup-ms", help="Warm up no longer than this, settled or not.")
]
MinDuration = Annotated[float, typer.Option("--min-duration-ms", help="Measure at least this long.")]
MinIterations = Annotated[int, typer.Option(help="Take at least so many samples.")]
Confidence = Annotated[float, typer.Option(help="Of the intervals.")]
Cooldown = Annotated[
    float,
    typer.Option("--cooldown-ms", help="Wait at most so long for temperature and clocks to come back."),
]

Transfers = Annotated[bool, typer.Option(help="Whether copies to and from the device count.")]
SpinWait = Annotated[
    bool | None, typer.Option(help="Whether the host waits by spinning; default: as when serving.")
]
CudaGraph = Annotated[
    bool | None, typer.Option(help="Whether runs are replayed as a CUDA graph; default: as when serving.")
]

DeadlineMs = Annotated[
    float | None, typer.Option("--deadline-ms", help="Also tell how latencies keep this deadline.")
]
Baseline = Annotated[
    Path | None, typer.Option(help="Another model file: run both in turns and say which is faster.")
]
LayerTimes = Annotated[
    bool, typer.Option("--layers/--no-layers", help="Also time each layer, in runs of their own.")
]
Rebuilds = Annotated[
    int, typer.Option(help="Load the model (build its engine) so many times and compare the medians.")
]
Priority = Annotated[int, typer.Option(help="Higher ones run earlier in the agent's queue.")]

Picture = Annotated[
    Path | None, typer.Option("--png", help="Also draw histogram, samples and layers into this file.")
]
SamplesFile = Annotated[
    Path | None, typer.Option(help="Also write every latency, ms, one a line; with --verify: read them.")
]
CertificateFile = Annotated[
    Path | None, typer.Option("--certificate", help="Also write all it takes to judge this later, as JSON.")
]
Verify = Annotated[
    Path | None,
    typer.Option("--verify", help="Measure nothing: check this certificate, and MODEL and --samples by it."),
]
Against = Annotated[
    Path | None,
    typer.Option(
        "--against", help="Set the result beside this earlier certificate, if they may be compared."
    ),
]
