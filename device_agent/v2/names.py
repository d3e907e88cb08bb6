"""Which versions a model has: one."""

from __future__ import annotations

from device_agent.errors import not_found_error

__all__ = ["check_version"]


def check_version(version: str) -> None:
    """Raises RequestError 404 unless it is "1"."""
    if version != "1":
        raise not_found_error(f"no version {version!r} of this model", "its only version is 1")
