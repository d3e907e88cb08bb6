"""`s4op export`: a trained or pruned model as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.table import Table

from edge_s4op.artifact import Artifact, Manifest, Precision, write_artifact
from edge_s4op.errors import UnknownNameError, UsageError
from edge_s4op.runtime.streaming import state_bytes
from host.cli.console import emit_json, log, result
from host.cli.options import CheckpointArgument, Json
from host.cli.progress import counting_bar
from host.export_streaming import export_streaming_checkpoint
from host.half_precision import Comparison, HalfExport, export_half
from host.workflow import export_checkpoint

__all__ = ["export_command"]


def export_command(
    checkpoint: CheckpointArgument,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("model.onnx"),
    precision: Annotated[
        str, typer.Option(help="fp32 or fp16; fp16 is compared with fp32 on validation and test data.")
    ] = "fp32",
    dataset: Annotated[
        str | None, typer.Option(help="Compare fp16 on these data, not on those the model was trained on.")
    ] = None,
    check_on_data: Annotated[
        bool, typer.Option(help="Compare with PyTorch on real input too, not only on random.")
    ] = True,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Write a file that takes samples as they come, with a state.")
    ] = False,
    window: Annotated[
        int | None, typer.Option(min=1, help="Of a streaming file: answer for the last WINDOW samples only.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model as one ONNX file that onnxruntime runs as it is.

    Masked operators are cut out first. The file is run in ONNX Runtime beside PyTorch before it is written,
    and refused above a relative difference of 1e-4, in fp16 2e-2.

    With --streaming the file takes samples as they come: with every push it gives the class so far and the
    state that the next push needs. At the end of a sequence it answers what the offline file answers.

    Example: s4op export runs/pruned/models/keep-0.50 --out half.onnx
    """
    if precision not in get_args(Precision):
        raise UnknownNameError("precision", precision, get_args(Precision))
    if dataset is not None and (precision != "fp16" or not check_on_data):
        raise UsageError(
            "--dataset is for comparing fp16 with fp32",
            fix="add --precision fp16, and leave out --no-check-on-data",
        )
    _check_streaming(streaming, window, precision)
    comparisons: tuple[Comparison, ...] = ()
    if streaming:
        artifact = export_streaming_checkpoint(checkpoint, window=window, check_on_data=check_on_data)
    elif precision == "fp16":
        half = _half(checkpoint, dataset, check_on_data)
        artifact, comparisons = half.artifact, half.comparisons
    else:
        artifact = export_checkpoint(checkpoint, check_on_data=check_on_data)
    write_artifact(artifact, out)
    _show(artifact, comparisons, out, as_json=as_json)


def _check_streaming(streaming: bool, window: int | None, precision: str) -> None:
    if window is not None and not streaming:
        raise UsageError("--window is of streaming files", fix="add --streaming, or leave --window out")
    if streaming and precision != "fp32":
        raise UsageError(
            "a streaming file is in fp32",
            expected="--precision fp32",
            found=precision,
            fix="leave --precision out: fp16 would round the state at every sample",
        )


def _half(checkpoint: Path, dataset: str | None, on_data: bool) -> HalfExport:
    with counting_bar("fp16 beside fp32", 100) as follow:

        def note(share: float) -> None:
            follow(round(100 * share))

        return export_half(checkpoint, dataset=dataset, on_data=on_data, on_progress=note)


def _show(artifact: Artifact, comparisons: tuple[Comparison, ...], out: Path, *, as_json: bool) -> None:
    manifest = artifact.manifest
    kept = [len(layer) for layer in manifest.kept_operators]
    if as_json:
        file = {"path": str(out), "sha256": artifact.sha256, "size_bytes": artifact.size_bytes}
        model = {"precision": manifest.precision, "kept_operators": kept, "parameters": manifest.parameters}
        emit_json({**file, **model, **_figures(comparisons), **_stream(manifest)})
        return
    if comparisons:
        result.print(_table(comparisons))
    log.print(
        f"{out}: {artifact.size_bytes / 1e3:.0f} kB, {manifest.precision}, kept operators {kept}, "
        f"sha256 {artifact.sha256}"
    )
    if stream := _stream(manifest):
        pooled = f"last {stream['window']} samples" if stream["window"] else "samples so far"
        log.print(f"streams: mean over the {pooled}, {stream['state_bytes'] / 1e3:.0f} kB of state each")


def _stream(manifest: Manifest) -> dict[str, Any]:
    """What a stream of this file is like; nothing for a file that takes whole sequences."""
    if manifest.streaming is None:
        return {}
    about = manifest.streaming.model_dump(include={"pooling", "window", "ssm_form"})
    return {**about, "state_bytes": state_bytes(manifest.streaming)}


def _figures(comparisons: tuple[Comparison, ...]) -> dict[str, Any]:
    if not comparisons:
        return {}
    by_split = {c.split: {"fp32": c.fp32, "fp16": c.fp16, "changed": c.changed} for c in comparisons}
    return {"accuracy": by_split}


def _table(comparisons: tuple[Comparison, ...]) -> Table:
    table = Table("accuracy", "sequences", "fp32", "fp16", "difference", "answers changed")
    for c in comparisons:
        difference = f"{100 * c.difference:+.2f} points"
        table.add_row(c.split, str(c.samples), f"{c.fp32:.2%}", f"{c.fp16:.2%}", difference, str(c.changed))
    return table
