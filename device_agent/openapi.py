"""What OpenAPI says of /v1: the routes as FastAPI knows them, with the bodies that the agent reads itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from device_agent.bodies import BODY_KIND
from edge_s4op import __version__

__all__ = ["openapi_of"]

_REFERENCE = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "description": "What went wrong.",
    "properties": {"error": {"type": "string", "description": "one sentence"}},
    "required": ["error"],
}
_FAILED = {
    "description": "what went wrong",
    "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model="Error")}}},
}


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """An OpenAPI 3.1 document of the routes under /v1."""
    routes = [route for route in _routes(app.routes) if route.path.startswith("/v1/")]
    document = get_openapi(
        title="s4op-agent",
        version=__version__,
        description="Store, measure and serve models on this device. /v2 is the Open Inference Protocol.",
        routes=app.routes,
    )
    document["paths"] = {path: at for path, at in document["paths"].items() if path.startswith("/v1/")}
    document.setdefault("components", {}).setdefault("schemas", {})["Error"] = _ERROR
    for route in routes:
        for method in route.methods or ():
            operation = document["paths"][route.path_format].get(method.lower())
            if operation is not None:
                _complete(document, operation, route)
    return document


def _routes(routes: Any) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        else:  # newer FastAPI keeps an included router as a whole
            yield from _routes(getattr(getattr(route, "original_router", None), "routes", ()))


def _complete(document: dict[str, Any], operation: dict[str, Any], route: APIRoute) -> None:
    operation["responses"].pop("422", None)  # the agent answers in its own form
    operation["responses"]["4XX"] = operation["responses"]["5XX"] = _FAILED
    summary, _, rest = operation.pop("description", "").partition("\n")
    operation["summary"] = summary or operation["summary"]
    if rest.strip():
        operation["description"] = rest.strip()
    for dependency in route.dependant.dependencies:
        kind = getattr(dependency.call, BODY_KIND, None)
        if kind is not None:
            content = {"application/json": _body(document, kind)}
            operation["requestBody"] = {"required": True, "content": content}


def _body(document: dict[str, Any], kind: type[BaseModel]) -> dict[str, Any]:
    schema = kind.model_json_schema(ref_template=_REFERENCE)
    schemas = document["components"]["schemas"]
    schemas.update(schema.pop("$defs", {}))
    schemas.setdefault(kind.__name__, schema)
    return {"schema": {"$ref": _REFERENCE.format(model=kind.__name__)}}
