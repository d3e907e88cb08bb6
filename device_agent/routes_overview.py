"""GET /v1/overview."""

from __future__ import annotations

from fastapi import APIRouter, Request

from device_agent.observer import observer_of
from device_agent.overview import Overview

__all__ = ["router"]

router = APIRouter()


@router.get("/v1/overview")
def overview(request: Request) -> Overview:
    """The device with its sensors, what is served, and the newest measurements, for who looks on."""
    return observer_of(request.app).overview()
