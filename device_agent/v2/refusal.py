"""How this package says no to what a client sent."""

from __future__ import annotations

from device_agent.errors import RequestError

__all__ = ["bad_request"]


def bad_request(
    what: str, expected: str | None = None, found: object = None, fix: str | None = None
) -> RequestError:
    """400; of what was found the first 80 characters."""
    shown = None if found is None else f"{found!r:.80}"
    return RequestError(what, status_code=400, expected=expected, found=shown, fix=fix)
