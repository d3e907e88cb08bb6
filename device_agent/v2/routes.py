"""/v2: server and models as the Open Inference Protocol shows them. Inference is in inference.py."""

from __future__ import annotations

import contextlib
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from device_agent.agent import Agent
from device_agent.errors import RequestError
from device_agent.routes_device import TheAgent
from device_agent.v2 import repository
from device_agent.v2.model_config import config_of, metadata_of
from device_agent.v2.names import check_version
from device_agent.v2.statistics import statistics_of
from edge_s4op import __version__
from edge_s4op.errors import UnknownModelError

__all__ = ["install"]

_EXTENSIONS = (
    "classification",
    "sequence",
    "sequence(string_id)",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)


async def _known_version(request: Request) -> None:
    check_version(request.path_params.get("version", "1"))


_router = APIRouter(prefix="/v2", dependencies=[Depends(_known_version)])


def install(app: FastAPI) -> None:
    """Give `app` these routes."""
    app.include_router(_router)
    app.include_router(repository.router)


@_router.get("")
async def server() -> dict[str, Any]:
    """What answers here."""
    return {"name": "s4op-agent", "version": __version__, "extensions": _EXTENSIONS}


@_router.get("/health/live")
async def live() -> dict[str, bool]:
    """The process answers."""
    return {"live": True}


@_router.get("/health/ready")
def ready(agent: TheAgent) -> Response:
    """200 when it can take work: files and database open, worker alive; else 503."""
    if agent.is_ready:
        return JSONResponse({"ready": True})
    return JSONResponse({"ready": False, "error": "the agent is not ready for work"}, status_code=503)


@_router.get("/models/stats")
def all_statistics(agent: TheAgent) -> dict[str, Any]:
    """Statistics of every model that is ready."""
    statistics = []
    for entry in agent.serving.index():
        if entry.state == "READY":
            with contextlib.suppress(UnknownModelError, RequestError):  # unloaded since
                statistics.append(_statistics_of(agent, entry.name))
    return {"model_stats": statistics}


@_router.get("/models/{name}")
@_router.get("/models/{name}/versions/{version}")
def model(agent: TheAgent, name: str) -> dict[str, Any]:
    """Inputs and outputs of a served model."""
    served = agent.serving.model(name)
    return metadata_of(name, served.backend, served.manifest)


@_router.get("/models/{name}/ready")
@_router.get("/models/{name}/versions/{version}/ready")
def model_ready(agent: TheAgent, name: str) -> dict[str, Any]:
    """200 when the model can be asked, else 503; 404 when it is not served."""
    agent.serving.model(name)
    return {"name": name, "ready": True}


@_router.get("/models/{name}/config")
@_router.get("/models/{name}/versions/{version}/config")
def model_config(agent: TheAgent, name: str) -> dict[str, Any]:
    """How a model is run."""
    served = agent.serving.model(name)
    return config_of(name, served.backend, served.manifest, served.request)


@_router.get("/models/{name}/stats")
@_router.get("/models/{name}/versions/{version}/stats")
def model_statistics(agent: TheAgent, name: str) -> dict[str, Any]:
    """Statistics of one model."""
    return {"model_stats": [_statistics_of(agent, name)]}


def _statistics_of(agent: Agent, name: str) -> dict[str, Any]:
    return statistics_of(name, agent.serving.model(name).statistics.snapshot())
