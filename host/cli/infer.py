"""`s4op infer`: query a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_s4op.artifact import Manifest
from edge_s4op.client import AgentClient
from edge_s4op.errors import AgentError, UnknownNameError, UsageError
from edge_s4op.messages import ServeRequest
from host.cli.console import emit_json, log, result
from host.cli.infer_inputs import (
    Sequence,
    sequence_of_dataset,
    sequence_of_file,
    split_of_dataset,
    split_of_file,
)
from host.cli.infer_stream import stream_and_show
from host.cli.options import DEFAULT_AGENT, AgentUrl, Json
from host.cli.progress import counting_bar
from host.workflow import Answers, batch_size_for, infer_split

__all__ = ["infer_command"]

_BATCH_SIZE = 32


def infer_command(
    name: Annotated[str, typer.Argument(help="Name the model is served under.")],
    agent: AgentUrl = DEFAULT_AGENT,
    dataset: Annotated[str | None, typer.Option(help="Send a split of this dataset.")] = None,
    split: Annotated[str, typer.Option(help="Which: train, validation or test.")] = "test",
    file: Annotated[
        Path | None,
        typer.Option(
            help="Send raw sequences of an .npy or .npz file: (n, L), (n, L, C) or tokens; with --stream also"
            " one alone."
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"Sequences a request, at most; {_BATCH_SIZE} if not given.", show_default=False
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Push the samples of one sequence, one after the other, to a model that was exported with"
            " --streaming, and show what it says meanwhile.",
        ),
    ] = False,
    row: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="With --stream: which sequence, counted from 0; the first if not given.",
            show_default=False,
        ),
    ] = None,
    push: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --stream: samples sent at a time; 1 if not given.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Send sequences to a served model and print its answers.

    Of a dataset, whose labels are known, it prints the accuracy; of a file, one class a line. Raw values
    are normalised here, as the model's manifest says.

    A model exported with `s4op export --streaming` takes samples as they come: --stream pushes one sequence
    to it as a sensor would, shows the prediction so far, and ends with the last one and the rates.

    Example: s4op infer gunpoint --dataset ucr:GunPoint

    Example: s4op infer ecg --stream --dataset ucr:ECG200 --row 7 --push 4
    """
    if (dataset is None) == (file is None):
        raise UsageError("what to send is not clear", expected="exactly one of --dataset and --file")
    _check_options(stream, row, push, batch_size)
    with AgentClient.connect(agent) as client:
        serving = _serving(client, name)
        manifest = _manifest(client, name, serving)
        _check_form(name, manifest, stream)
        if stream:
            sequence = _sequence(dataset, split, file, row or 0, manifest)
            stream_and_show(client.url, name, sequence, push=push or 1, as_json=as_json)
            return
        rows = (
            split_of_file(file or Path(), manifest)
            if dataset is None
            else split_of_dataset(dataset, split, manifest)
        )
        with counting_bar("sequences", len(rows)) as follow:
            size = batch_size_for(serving, batch_size or _BATCH_SIZE)
            answers = infer_split(client, name, rows, batch_size=size, on_progress=follow)
    _show(answers, manifest, labelled=dataset is not None, as_json=as_json)


def _sequence(dataset: str | None, split: str, file: Path | None, row: int, manifest: Manifest) -> Sequence:
    if dataset is not None:
        return sequence_of_dataset(dataset, split, row, manifest)
    return sequence_of_file(file or Path(), row, manifest)


def _check_options(stream: bool, row: int | None, push: int | None, batch_size: int | None) -> None:
    """Raise UsageError for an option that has no meaning here."""
    if stream and batch_size is not None:
        raise UsageError(
            "--batch-size is for requests of whole sequences",
            fix="leave it out; --push says how many samples are sent at a time",
        )
    for option, value in (("--row", row), ("--push", push)):
        if value is not None and not stream:
            raise UsageError(f"{option} is for streams", fix="add --stream, or leave it out")


def _check_form(name: str, manifest: Manifest, stream: bool) -> None:
    """Raise UsageError when the model takes samples as they come and is to get sequences, or vice versa."""
    if manifest.streaming is not None and not stream:
        raise UsageError(
            f"model {name!r} takes samples as they come, not whole sequences",
            fix="add --stream to push one sequence to it; for all of a split, deploy a file that was"
            " exported without --streaming",
        )
    if manifest.streaming is None and stream:
        raise UsageError(
            f"model {name!r} takes whole sequences, not samples as they come",
            fix="leave out --stream; or export the checkpoint with `s4op export --streaming` and deploy that",
        )


def _serving(client: AgentClient, name: str) -> ServeRequest:
    served = {model.name: model.serving for model in client.served()}
    if name not in served:  # variants of a family differ in nothing that matters here
        families = {family.name: family.serving for family in client.families()}
        served |= {key: each.serve_request(each.variants[0]) for key, each in families.items()}
    if not served:
        raise UsageError(f"{client.url} serves no model", fix="serve one with `s4op deploy`")
    if name not in served:
        raise UnknownNameError(f"model on {client.url}", name, served)
    return served[name]


def _manifest(client: AgentClient, name: str, serving: ServeRequest) -> Manifest:
    manifests = {info.sha256: info.manifest for info in client.artifacts()}
    if serving.artifact_sha256 not in manifests:
        raise AgentError(f"{client.url} has lost the file of model {name!r}", fix="deploy it again")
    return manifests[serving.artifact_sha256]


def _show(answers: Answers, manifest: Manifest, *, labelled: bool, as_json: bool) -> None:
    labels = manifest.class_labels or tuple(map(str, range(answers.logits.shape[1])))
    classes = [labels[index] for index in answers.classes]
    if as_json:
        accuracy = {"accuracy": answers.accuracy} if labelled else {}
        emit_json({"samples": len(classes), **accuracy, "classes": classes})
    elif labelled:
        result.print(f"accuracy {answers.accuracy:.2%} on {len(classes)} sequences")
    else:
        for label in classes:
            result.print(label, markup=False)
    log.print(f"{len(classes)} answers")
