"""GET /v1/device."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from device_agent.agent import Agent
from edge_s4op.messages import DeviceFacts

__all__ = ["TheAgent", "router"]

router = APIRouter()


def _agent_of(request: Request) -> Agent:
    agent = request.app.state.agent
    assert isinstance(agent, Agent)
    return agent


TheAgent = Annotated[Agent, Depends(_agent_of)]


@router.get("/v1/device")
def device(agent: TheAgent) -> DeviceFacts:
    """What this device is."""
    return agent.device.facts().model_copy(update={"default_backend": agent.settings.backend})
