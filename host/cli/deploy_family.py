"""`s4op deploy --family`: serve every model a search kept under one name."""

from __future__ import annotations

from pathlib import Path

from edge_s4op.artifact import Artifact, read_artifact
from edge_s4op.client import AgentClient
from edge_s4op.errors import UsageError
from edge_s4op.messages import FamilyRequest, LatencyObjective, SwitchingPolicy
from host.cli.console import emit_json, log
from host.cli.options import checked
from host.cli.progress import deploying_bar
from host.family import FAMILY_NAME, Trial, read_family

__all__ = ["deploy_family"]


def deploy_family(
    family: Path,
    name: str,
    agent: str,
    values: dict[str, object],
    objective: dict[str, float | None],
    policy: dict[str, float | None],
    *,
    as_json: bool,
) -> None:
    """Upload the kept models of `family` and serve them. Raises UsageError, DataError, AgentError."""
    if all(limit_ms is None for limit_ms in objective.values()):
        raise UsageError("--family needs an objective", expected="--objective-p99-ms or --objective-p50-ms")
    variants = _variants(family)
    request = checked(
        FamilyRequest,
        {
            "variants": [
                {
                    "name": trial.model,
                    "artifact_sha256": artifact.sha256,
                    "accuracy": trial.validation_accuracy,
                }
                for trial, artifact in variants
            ],
            "objective": checked(LatencyObjective, dict(objective)),
            "policy": checked(SwitchingPolicy, dict(policy)),
            **values,
        },
    )
    with AgentClient.connect(agent) as client, deploying_bar(f"loading {len(variants)} models") as follow:
        for _, artifact in variants:
            client.put_artifact(artifact)
        served = client.serve_family(name, request, on_progress=follow)
        url = f"{client.url}/v2/models/{name}/infer"
    if as_json:
        emit_json({"family": str(family), "url": url, **served.model_dump(mode="json")})
    else:
        log.print(f"{len(variants)} models of {family} are served, {served.current} at first: POST {url}")


def _variants(family: Path) -> list[tuple[Trial, Artifact]]:
    """The kept models, each file once."""
    folder = family.parent if family.name == FAMILY_NAME else family
    found = read_family(folder)
    artifacts: dict[str, tuple[Trial, Artifact]] = {}
    for trial in found.kept():
        artifact = read_artifact(folder / found.models[str(trial.model)] / "model.onnx")
        artifacts.setdefault(artifact.sha256, (trial, artifact))
    return list(artifacts.values())
