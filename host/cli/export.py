"""`s4op export`: a trained or pruned model as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_s4op.artifact import write_artifact
from host.cli.console import emit_json, log
from host.cli.options import CheckpointArgument, Json
from host.workflow import export_checkpoint

__all__ = ["export_command"]


def export_command(
    checkpoint: CheckpointArgument,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("model.onnx"),
    check_on_data: Annotated[
        bool, typer.Option(help="Compare with PyTorch on real input too, not only on random.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Write a model as one ONNX file that onnxruntime runs as it is.

    Masked operators are cut out first. The file is run in ONNX Runtime beside PyTorch before it is written,
    and refused above a relative difference of 1e-4.

    Example: s4op export runs/pruned/models/keep-0.50 --out half.onnx
    """
    artifact = export_checkpoint(checkpoint, check_on_data=check_on_data)
    write_artifact(artifact, out)
    kept = [len(layer) for layer in artifact.manifest.kept_operators]
    figures = {"kept_operators": kept, "parameters": artifact.manifest.parameters}
    if as_json:
        emit_json({"path": str(out), "sha256": artifact.sha256, "size_bytes": artifact.size_bytes, **figures})
    else:
        log.print(
            f"{out}: {artifact.size_bytes / 1e3:.0f} kB, kept operators {kept}, sha256 {artifact.sha256}"
        )
