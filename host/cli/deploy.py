"""`s4op deploy`: serve a model on the device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from edge_s4op.artifact import read_artifact
from edge_s4op.client import AgentClient
from edge_s4op.errors import UsageError
from edge_s4op.messages import MODEL_NAME_PATTERN, ServeRequest
from host.cli.console import emit_json, log
from host.cli.deploy_family import deploy_family
from host.cli.options import DEFAULT_AGENT, AgentUrl, BackendName, Json, Threads, checked
from host.cli.progress import deploying_bar
from host.family import FAMILY_NAME, read_family, select

__all__ = ["deploy_command"]


def deploy_command(
    name: Annotated[str, typer.Option(help="Name to serve it under.")],
    model: Annotated[
        Path | None, typer.Argument(help="An ONNX file, or the folder of a search (family.json).")
    ] = None,
    agent: AgentUrl = DEFAULT_AGENT,
    latency_budget_ms: Annotated[
        float | None, typer.Option(help="Of a family, the most accurate model whose measured p50 fits.")
    ] = None,
    family: Annotated[
        Path | None,
        typer.Option(help="Folder of a search: serve all of its models, the agent chooses among them."),
    ] = None,
    objective_p99_ms: Annotated[
        float | None,
        typer.Option(help="Of --family: latency that 99% of the answers keep, waiting included."),
    ] = None,
    objective_p50_ms: Annotated[
        float | None, typer.Option(help="Of --family: the same for the median, in place of p99.")
    ] = None,
    temperature_limit_c: Annotated[
        float | None, typer.Option(help="Of --family: a board so hot is given a faster model.")
    ] = None,
    backend: BackendName = None,
    threads: Threads = 1,
    max_batch: Annotated[
        int | None,
        typer.Option(
            help="Most sequences that run together: a TensorRT engine is built for that many (default: 1), "
            "with ONNX Runtime requests that wait are joined (default: found by timing the model)."
        ),
    ] = None,
    max_delay_ms: Annotated[
        float, typer.Option(help="How long a request may wait to be joined with others, up to --max-batch.")
    ] = 0.0,
    max_queue: Annotated[int, typer.Option(help="Most requests that wait; more are refused.")] = 64,
    instances: Annotated[int, typer.Option(help="Inferences run at once (ONNX Runtime).")] = 1,
    timeout_ms: Annotated[
        float | None, typer.Option(help="How long a request may wait; default: as long as it takes.")
    ] = None,
    priority_levels: Annotated[int, typer.Option(help="Levels requests may name; 1 is most urgent.")] = 1,
    as_json: Json = False,
) -> None:
    """Serve a model on the device under a name.

    One already served under that name is replaced without a gap; a restarted agent serves it again.

    Example: s4op deploy runs/pruned --latency-budget-ms 0.8 --name gunpoint

    Example: s4op deploy --family runs/pruned --objective-p99-ms 20 --name gunpoint
    """
    _check_name(name)
    objective = {"p99_ms": objective_p99_ms, "p50_ms": objective_p50_ms}
    values: dict[str, object] = {
        "backend": backend,
        "threads": threads,
        "max_batch": max_batch,
        "max_delay_ms": max_delay_ms,
        "max_queue": max_queue,
        "instances": instances,
        "timeout_ms": timeout_ms,
        "priority_levels": priority_levels,
    }
    if family is not None:
        if model is not None or latency_budget_ms is not None:
            raise UsageError("--family serves every model of a search: give no MODEL and no budget beside it")
        policy = {"temperature_limit_c": temperature_limit_c}
        deploy_family(family, name, agent, values, objective, policy, as_json=as_json)
        return
    if any(value is not None for value in (*objective.values(), temperature_limit_c)):
        raise UsageError("an objective or a limit of temperature belongs to --family", fix="give that, too")
    if model is None:
        raise UsageError("nothing to deploy", expected="MODEL, or --family FOLDER")
    _deploy_model(_model_file(model, latency_budget_ms), name, agent, values, as_json=as_json)


def _deploy_model(path: Path, name: str, agent: str, values: dict[str, object], *, as_json: bool) -> None:
    artifact = read_artifact(path)
    request = checked(ServeRequest, {"artifact_sha256": artifact.sha256, **values})
    with AgentClient.connect(agent) as client, deploying_bar(f"loading {path.name}") as follow:
        client.put_artifact(artifact)
        served = client.serve(name, request, on_progress=follow)
        url = f"{client.url}/v2/models/{name}/infer"
    if as_json:
        emit_json({"model": str(path), "url": url, **served.model_dump(mode="json")})
    else:
        log.print(f"{path} is served: POST {url}")


def _check_name(name: str) -> None:
    if not re.match(MODEL_NAME_PATTERN, name):
        raise UsageError(
            "--name: not a name a model can be served under",
            expected="letters, digits, '_', '.' and '-', at most 64, the first a letter or digit",
            found=repr(name),
        )


def _model_file(model: Path, budget_ms: float | None) -> Path:
    """The file itself, or the file of a family's model that fits the budget."""
    folder = model.parent if model.name == FAMILY_NAME else model
    if not (folder / FAMILY_NAME).exists():
        if budget_ms is not None:
            raise UsageError(
                f"--latency-budget-ms chooses from a family, and {model} is none",
                expected=f"a folder with {FAMILY_NAME}",
                fix="give the folder `s4op prune` wrote",
            )
        return model
    if budget_ms is None:
        raise UsageError(f"{folder} holds a family of models", fix="say which with --latency-budget-ms")
    family = read_family(folder)
    return folder / family.models[str(select(family, budget_ms).model)] / "model.onnx"
