"""/v1/models: which artifacts are served, and under which names."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Request

from device_agent.bodies import json_body
from device_agent.routes_device import TheAgent
from edge_s4op.messages import MODEL_NAME_PATTERN, ServedModel, ServeRequest

__all__ = ["router"]

router = APIRouter(prefix="/v1/models")

Name = Annotated[str, Path(pattern=MODEL_NAME_PATTERN)]
Wanted = Annotated[ServeRequest, Depends(json_body(ServeRequest))]


@router.get("")
def served(agent: TheAgent) -> list[ServedModel]:
    """Every served model, also those that failed to load."""
    return agent.serving.all()


@router.put("/{name}")
async def serve(agent: TheAgent, request: Request, name: Name, wanted: Wanted) -> ServedModel:
    """Load an artifact and serve it under `name`; on any error what was served before stays."""
    limiter = request.app.state.limiters.inference
    return await to_thread.run_sync(agent.serving.put, name, wanted, limiter=limiter)


@router.delete("/{name}", status_code=204)
def unserve(agent: TheAgent, name: Name) -> None:
    """Stop serving `name`."""
    agent.serving.remove(name)
