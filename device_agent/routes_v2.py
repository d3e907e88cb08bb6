"""/v2: the Open Inference Protocol, JSON tensors."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from device_agent.bodies import read_body
from device_agent.errors import RequestError, busy_error, not_found_error
from device_agent.inference import answer_to
from device_agent.routes_device import TheAgent
from edge_s4op import __version__
from edge_s4op.artifact import TensorInfo

__all__ = ["router"]

_MAX_WAITING = 32  # inference requests beyond those in threads; more are told to come back


def _known_version(version: str) -> None:
    if version != "1":
        raise not_found_error(f"no version {version!r} of this model", "its only version is 1")


router = APIRouter(prefix="/v2")


@router.get("")
def server() -> dict[str, Any]:
    """What answers here."""
    return {"name": "s4op-agent", "version": __version__, "extensions": []}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """The process answers."""
    return {"live": True}


@router.get("/health/ready")
def ready(agent: TheAgent) -> Response:
    """200 when it can take work: files and database open, worker alive; else 503."""
    if agent.is_ready:
        return JSONResponse({"ready": True})
    return JSONResponse({"ready": False, "error": "the agent is not ready for work"}, status_code=503)


@router.get("/models/{name}")
@router.get("/models/{name}/versions/{version}", dependencies=[Depends(_known_version)])
def model(agent: TheAgent, name: str) -> dict[str, Any]:
    """Inputs and outputs of a served model."""
    manifest = agent.serving.ready_runner(name).manifest
    return {
        "name": name,
        "versions": ["1"],
        "platform": f"{agent.serving.get(name).serving.backend}_onnx",
        "inputs": [_described(info) for info in manifest.inputs],
        "outputs": [_described(info) for info in manifest.outputs],
    }


@router.get("/models/{name}/ready")
@router.get("/models/{name}/versions/{version}/ready", dependencies=[Depends(_known_version)])
def model_ready(agent: TheAgent, name: str) -> dict[str, Any]:
    """200 when the model can be asked, else 503; 404 when it is not served."""
    agent.serving.ready_runner(name)
    return {"name": name, "ready": True}


@router.post("/models/{name}/infer")
@router.post("/models/{name}/versions/{version}/infer", dependencies=[Depends(_known_version)])
async def infer(agent: TheAgent, request: Request, name: str) -> Response:
    """Run one batch."""
    agent.serving.ready_runner(name)
    if "inference-header-content-length" in request.headers:
        raise RequestError("binary tensors are not understood here", status_code=400, fix="send JSON tensors")
    limiter = request.app.state.limiters.inference
    if limiter.statistics().tasks_waiting >= _MAX_WAITING:
        raise busy_error("too many requests wait for this device")
    content = await read_body(request, agent.settings.max_body_bytes)
    answer = await to_thread.run_sync(answer_to, agent.serving, name, content, limiter=limiter)
    return Response(answer, media_type="application/json")


def _described(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "datatype": info.datatype, "shape": list(info.shape)}
