"""/v1/families: several variants under one name, with an objective for their latency."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from device_agent.bodies import json_body
from device_agent.routes_device import TheAgent
from device_agent.routes_models import Name, Prefer, loaded, wait_s_of
from edge_s4op.messages import FamilyPin, FamilyRequest, ServedFamily

__all__ = ["router"]

router = APIRouter(prefix="/v1/families")

Wanted = Annotated[FamilyRequest, Depends(json_body(FamilyRequest))]
Pin = Annotated[FamilyPin, Depends(json_body(FamilyPin))]


@router.get("")
def families(agent: TheAgent) -> list[ServedFamily]:
    """Every family: the variant in use, how each fares, the last switches and why."""
    return agent.families.all()


@router.get("/{name}")
def family(agent: TheAgent, name: Name) -> ServedFamily:
    """One family."""
    return agent.families.get(name)


@router.put("/{name}")
async def serve(
    agent: TheAgent, request: Request, response: Response, name: Name, wanted: Wanted, prefer: Prefer = ""
) -> ServedFamily:
    """Load all variants and serve them under `name`; on any error what was served before stays.

    It waits for the end, unless `Prefer: respond-async, wait=SECONDS` (RFC 7240) sets a limit: then 202 says
    how far it is, and the same request again waits on.
    """
    put = partial(agent.families.put, name, wanted, wait_s_of(prefer))
    return await loaded(request, response, put, partial(agent.families.get, name))


@router.delete("/{name}", status_code=204)
def unserve(agent: TheAgent, name: Name) -> None:
    """Stop serving a family."""
    agent.families.remove(name)


@router.post("/{name}/pin")
def pin(agent: TheAgent, name: Name, wanted: Pin) -> ServedFamily:
    """Hold one variant, whatever happens, across restarts too; {"variant": null} lets go of it."""
    return agent.families.pin(name, wanted.variant)
