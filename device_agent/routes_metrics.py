"""GET /metrics: Prometheus' text format, or OpenMetrics for who asks for it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from device_agent.observer import observer_of

__all__ = ["router"]

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    """What a Prometheus server scrapes."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    text = encode(observer_of(request.app).registry)
    return Response(text, headers={"Content-Type": content_type, "Cache-Control": "no-store"})
