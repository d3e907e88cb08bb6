"""The page for people at /, the API's description at /docs and /openapi.json; nothing from elsewhere."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from device_agent.errors import not_found_error
from device_agent.openapi import openapi_of

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Cache-Control": "no-cache",  # asked for again each time: after an update no old script meets a new agent
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str


@router.get("/")
@router.head("/")
def page(request: Request) -> Response:
    """The page."""
    return _answer(request, "index.html")


@router.get("/docs")
@router.head("/docs")
def docs(request: Request) -> Response:
    """The API's description for people."""
    return _answer(request, "docs.html")


@router.get("/page/{name}")
@router.head("/page/{name}")
def file(request: Request, name: str) -> Response:
    """A style sheet, script or icon of these pages."""
    return _answer(request, name)


@router.get("/openapi.json")
def openapi(request: Request) -> JSONResponse:
    """The API's description for programs."""
    return JSONResponse(openapi_of(request.app), headers={"Cache-Control": "no-cache"})


def _answer(request: Request, name: str) -> Response:
    found = _files().get(name)
    if found is None:
        raise not_found_error(f"no such file: GET /page/{name}")
    headers = {**_HEADERS, "ETag": found.etag}
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers={**headers, "Content-Type": found.media_type})


@functools.cache
def _files() -> dict[str, _File]:
    folder = resources.files("device_agent") / "page"
    found = {}
    for entry in folder.iterdir():
        media_type = _TYPES.get("." + entry.name.rpartition(".")[2])
        if media_type is not None:
            content = entry.read_bytes()
            found[entry.name] = _File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found
