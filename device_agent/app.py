"""The agent's HTTP application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp

from device_agent import (
    routes_artifacts,
    routes_device,
    routes_families,
    routes_measurements,
    routes_metrics,
    routes_models,
    routes_overview,
    routes_page,
    routes_streams,
)
from device_agent.agent import Agent
from device_agent.errors import install_error_handlers, on_unexpected
from device_agent.request_log import RequestLog
from device_agent.v2 import routes
from device_agent.v2.inference import InferFirst, inference

__all__ = ["create_app"]


@dataclass(frozen=True)
class _Limiters:
    """Threads set apart for what may block long, so that it cannot keep short requests waiting."""

    tensors: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))  # of large requests
    uploads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(4))
    loading: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(32))  # they only wait


class _App(FastAPI):
    """FastAPI for all requests but those to infer."""

    def build_middleware_stack(self) -> ASGIApp:
        logged = RequestLog(inference, access_log=self.state.agent.settings.access_log)
        return InferFirst(ServerErrorMiddleware(logged, on_unexpected), super().build_middleware_stack())


def create_app(agent: Agent) -> FastAPI:
    """An application over an open agent: it starts the agent's worker and closes the agent at the end."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        agent.start()
        try:
            yield
        finally:
            await to_thread.run_sync(agent.close)

    # No generated documentation page: it would load its scripts from the internet.
    app = _App(title="s4op-agent", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.agent = agent
    app.state.limiters = _Limiters()
    install_error_handlers(app)
    routes.install(app)
    for module in (routes_device, routes_artifacts, routes_measurements, routes_models, routes_streams):
        app.include_router(module.router)
    for module in (routes_families, routes_overview, routes_metrics, routes_page):
        app.include_router(module.router)
    app.add_middleware(RequestLog, access_log=agent.settings.access_log)
    return app
