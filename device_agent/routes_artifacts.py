"""/v1/artifacts: model files by content."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response

from device_agent.bodies import Body
from device_agent.routes_device import TheAgent
from edge_s4op.messages import SHA256_PATTERN, ArtifactInfo

__all__ = ["router"]

router = APIRouter(prefix="/v1/artifacts")

Sha256 = Annotated[str, Path(pattern=SHA256_PATTERN)]


@router.get("")
def artifacts(agent: TheAgent) -> list[ArtifactInfo]:
    """Every file the agent holds."""
    return agent.store.all()


@router.post("")
async def post_artifact(agent: TheAgent, request: Request, response: Response) -> ArtifactInfo:
    """As PUT, for who cannot compute the hash (a page served over plain HTTP): the answer has it.

    It shows what was received, not that it is what was sent; where the hash is known, PUT says both.
    """
    body = Body(request, agent.settings.max_artifact_bytes, agent.settings.upload_idle_s)
    limiter = request.app.state.limiters.uploads
    info, new = await to_thread.run_sync(agent.store.receive_unnamed, body.pieces(), limiter=limiter)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/artifacts/{info.sha256}"
    return info


@router.get("/{sha256}")
@router.head("/{sha256}")
def artifact(agent: TheAgent, sha256: Sha256) -> ArtifactInfo:
    """What a file is; 404 when it is not here."""
    return agent.store.get(sha256)


@router.put("/{sha256}")
async def put_artifact(agent: TheAgent, request: Request, response: Response, sha256: Sha256) -> ArtifactInfo:
    """Take in a file: 201 new, 200 already here, 400 not what it should be, 507 disk full."""
    body = Body(request, agent.settings.max_artifact_bytes, agent.settings.upload_idle_s)
    limiter = request.app.state.limiters.uploads
    info, new = await to_thread.run_sync(agent.store.receive, sha256, body.pieces(), limiter=limiter)
    response.status_code = 201 if new else 200
    return info


@router.delete("/{sha256}", status_code=204)
def remove_artifact(agent: TheAgent, sha256: Sha256) -> None:
    """Forget a file; 404 when it is not here, 409 while it is served or a measurement needs it."""
    agent.remove_artifact(sha256)
