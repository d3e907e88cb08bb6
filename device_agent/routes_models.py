"""/v1/models: which artifacts are served, and under which names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, TypeVar

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Path, Request, Response

from device_agent.bodies import json_body
from device_agent.routes_device import TheAgent
from edge_s4op.messages import MODEL_NAME_PATTERN, ServedModel, ServeRequest

__all__ = ["Name", "Prefer", "loaded", "router", "wait_s_of"]

T = TypeVar("T")

router = APIRouter(prefix="/v1/models")

_LONGEST_WAIT_S = 30.0  # a client and the proxies before it may give up on longer silence

Name = Annotated[str, Path(pattern=MODEL_NAME_PATTERN)]
Wanted = Annotated[ServeRequest, Depends(json_body(ServeRequest))]
Prefer = Annotated[str, Header(max_length=200)]


@router.get("")
def served(agent: TheAgent) -> list[ServedModel]:
    """Every served model, also those that failed to load."""
    return agent.serving.all()


@router.put("/{name}")
async def serve(
    agent: TheAgent, request: Request, response: Response, name: Name, wanted: Wanted, prefer: Prefer = ""
) -> ServedModel:
    """Load an artifact and serve it under `name`; on any error what was served before stays.

    It waits for the end, unless `Prefer: respond-async, wait=SECONDS` (RFC 7240) sets a limit: then 202 says
    how far it is, and the same request again waits on.
    """
    put = partial(agent.serving.put, name, wanted, wait_s_of(prefer))
    return await loaded(request, response, put, partial(agent.serving.get, name))


@router.delete("/{name}", status_code=204)
def unserve(agent: TheAgent, name: Name) -> None:
    """Stop serving `name`."""
    agent.serving.remove(name)


async def loaded(
    request: Request, response: Response, put: Callable[[], T | None], get: Callable[[], T]
) -> T:
    """What `put` loads; where it would not wait for the end (None), what `get` says meanwhile, with 202."""
    served = await to_thread.run_sync(put, limiter=request.app.state.limiters.loading)
    if served is not None:
        return served
    response.status_code = 202
    return await to_thread.run_sync(get)


def wait_s_of(prefer: str) -> float | None:
    """The limit a Prefer header sets, at most 30 s; None: wait for the end."""
    wishes = dict(wish.strip().lower().partition("=")[::2] for wish in prefer.split(","))
    if "respond-async" not in wishes:
        return None
    wait = wishes.get("wait", "0").strip()
    return min(float(wait), _LONGEST_WAIT_S) if wait.isdecimal() else 0.0
