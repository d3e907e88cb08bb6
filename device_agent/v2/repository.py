"""/v2/repository: which models there are, loading and unloading them."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from device_agent.bodies import read_body
from device_agent.routes_device import TheAgent
from device_agent.v2.parameters import flag_of
from device_agent.v2.refusal import bad_request

__all__ = ["router"]

router = APIRouter(prefix="/v2/repository")

_MAX_BODY_BYTES = 1 << 20


@router.post("/index")
async def index(agent: TheAgent, request: Request) -> list[dict[str, str]]:
    """Every model of the repository, or with {"ready": true} those that can be asked."""
    asked = await _object_of(request)
    only_ready = flag_of(asked, "ready", False)
    entries = await to_thread.run_sync(agent.serving.index)
    return [
        {"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason}
        for entry in entries
        if entry.state == "READY" or not only_ready
    ]


@router.post("/models/{name}/load")
async def load(agent: TheAgent, request: Request, name: str) -> Response:
    """Load a model that was unloaded, or load it anew."""
    parameters = _parameters_of(await _object_of(request))
    if parameters:
        raise bad_request(
            "a model is loaded from the file it was registered with",
            expected="no parameters",
            found=", ".join(parameters),
            fix="upload a file with PUT /v1/artifacts and register it with PUT /v1/models",
        )
    await to_thread.run_sync(partial(agent.serving.load, name), limiter=request.app.state.limiters.loading)
    return Response(media_type="application/json")


@router.post("/models/{name}/unload")
async def unload(agent: TheAgent, request: Request, name: str) -> Response:
    """Stop a model; it stays in the index, to be loaded again."""
    parameters = _parameters_of(await _object_of(request))
    flag_of(parameters, "unload_dependents", False)  # no model depends on another here
    await to_thread.run_sync(partial(agent.serving.unload, name), limiter=request.app.state.limiters.loading)
    return Response(media_type="application/json")


def _parameters_of(asked: dict[str, Any]) -> dict[str, Any]:
    parameters = asked.get("parameters", {})
    if not isinstance(parameters, dict):
        raise bad_request("the request's parameters cannot be read", "an object 'parameters'", parameters)
    return parameters


async def _object_of(request: Request) -> dict[str, Any]:
    """The body, a JSON object; an empty one where there is no body."""
    content = await read_body(request, _MAX_BODY_BYTES)
    try:
        asked = json.loads(content) if content else {}
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {str(error) or type(error).__name__}") from error
    if not isinstance(asked, dict):
        raise bad_request("the body is no JSON object", "an object", asked)
    return asked
