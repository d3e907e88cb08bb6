"""/v2: server and models as the Open Inference Protocol shows them. Inference is in inference.py."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from device_agent.routes_device import TheAgent
from device_agent.v2 import repository
from device_agent.v2.inference import infer
from device_agent.v2.model_config import config_of, metadata_of
from device_agent.v2.names import check_version
from device_agent.v2.served import served_of
from device_agent.v2.statistics import statistics_of
from edge_s4op import __version__

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
    """Give `app` these routes, inference first: routes are tried one by one."""
    for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
        app.add_route(path, infer, methods=["POST"])
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
    names = [entry.name for entry in agent.serving.all() if entry.ready]
    return {"model_stats": [statistics_of(name, None) for name in names]}


@_router.get("/models/{name}")
@_router.get("/models/{name}/versions/{version}")
def model(agent: TheAgent, name: str) -> dict[str, Any]:
    """Inputs and outputs of a served model."""
    served = served_of(agent.serving, name)
    return metadata_of(name, served.backend, served.manifest)


@_router.get("/models/{name}/ready")
@_router.get("/models/{name}/versions/{version}/ready")
def model_ready(agent: TheAgent, name: str) -> dict[str, Any]:
    """200 when the model can be asked, else 503; 404 when it is not served."""
    served_of(agent.serving, name)
    return {"name": name, "ready": True}


@_router.get("/models/{name}/config")
@_router.get("/models/{name}/versions/{version}/config")
def model_config(agent: TheAgent, name: str) -> dict[str, Any]:
    """How a model is run."""
    served = served_of(agent.serving, name)
    return config_of(name, served.backend, served.manifest, served.request)


@_router.get("/models/{name}/stats")
@_router.get("/models/{name}/versions/{version}/stats")
def model_statistics(agent: TheAgent, name: str) -> dict[str, Any]:
    """Statistics of one model."""
    return {"model_stats": [statistics_of(name, served_of(agent.serving, name))]}
