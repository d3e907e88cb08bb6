"""`s4op infer`: query a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from edge_s4op.artifact import Manifest
from edge_s4op.client import AgentClient
from edge_s4op.errors import AgentError, DataError, UnknownNameError, UsageError
from edge_s4op.messages import ServeRequest
from host.cli.console import emit_json, log, result
from host.cli.options import DEFAULT_AGENT, AgentUrl, Json
from host.cli.progress import counting_bar
from host.data.dataset import Split, load_dataset
from host.workflow import Answers, batch_size_for, infer_split, normalised_for

__all__ = ["infer_command"]

_SPLITS = ("train", "validation", "test")


def infer_command(
    name: Annotated[str, typer.Argument(help="Name the model is served under.")],
    agent: AgentUrl = DEFAULT_AGENT,
    dataset: Annotated[str | None, typer.Option(help="Send a split of this dataset.")] = None,
    split: Annotated[str, typer.Option(help="Which: train, validation or test.")] = "test",
    file: Annotated[
        Path | None, typer.Option(help="Send raw sequences of an .npy file: (n, L), (n, L, C) or tokens.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences a request, at most.")] = 32,
    as_json: Json = False,
) -> None:
    """Send sequences to a served model and print its answers.

    Of a dataset, whose labels are known, it prints the accuracy; of a file, one class a line. Raw values
    are normalised here, as the model's manifest says.

    Example: s4op infer gunpoint --dataset ucr:GunPoint
    """
    if (dataset is None) == (file is None):
        raise UsageError("what to send is not clear", expected="exactly one of --dataset and --file")
    with AgentClient.connect(agent) as client:
        serving = _serving(client, name)
        manifest = _manifest(client, name, serving)
        batch_size = batch_size_for(serving, batch_size)
        rows = _of_dataset(dataset, split, manifest) if dataset else _of_file(file or Path(), manifest)
        with counting_bar("sequences", len(rows)) as follow:
            answers = infer_split(client, name, rows, batch_size=batch_size, on_progress=follow)
    _show(answers, manifest, labelled=dataset is not None, as_json=as_json)


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


def _of_dataset(spec: str, split: str, manifest: Manifest) -> Split:
    if split not in _SPLITS:
        raise UnknownNameError("split", split, _SPLITS)
    data = load_dataset(spec)
    rows: Split = getattr(data, split)
    return normalised_for(manifest, rows, data.preprocessing)


def _of_file(path: Path, manifest: Manifest) -> Split:
    if len(manifest.inputs) > 1:
        raise UsageError("this model takes sequences of several lengths", fix="use --dataset npz:PATH")
    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}: not a readable .npy file: {error}", fix="write it with numpy.save"
        ) from error
    tokens = manifest.inputs[0].datatype == "INT64"
    if not isinstance(x, np.ndarray) or x.dtype.kind not in ("iu" if tokens else "fiu"):
        found = x.dtype if isinstance(x, np.ndarray) else "an .npz archive"
        raise DataError(
            f"{path}: wrong kind of data", expected="whole numbers" if tokens else "numbers", found=found
        )
    if x.ndim == 0 or len(x) == 0:
        raise DataError(f"{path}: no sequences in it", expected="(n, L), (n, L, C)", found=list(x.shape))
    labels = np.zeros(len(x), np.int64)
    if tokens:
        return normalised_for(manifest, Split(x.astype(np.int64), labels, None), manifest.preprocessing)
    x = x.astype(np.float32)
    split = Split(x[..., None] if x.ndim == 2 else x, labels, None)
    channels = split.x.shape[-1]
    raw = manifest.preprocessing.model_copy(update={"mean": (0.0,) * channels, "std": (1.0,) * channels})
    return normalised_for(manifest, split, raw)


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
