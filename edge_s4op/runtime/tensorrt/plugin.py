"""The SSMConv plugin's library: where it is, and loading it into TensorRT's registry."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_s4op import op
from edge_s4op.errors import BuildError, UsageError
from edge_s4op.runtime.tensorrt import library

__all__ = [
    "LIBRARY",
    "TF32_VARIABLE",
    "VARIABLE",
    "PluginChoice",
    "choose_plugin",
    "load_plugin",
    "plugin_places",
]

LIBRARY = "libs4op_ssm_conv.so"
VARIABLE = "S4OP_TRT_PLUGIN"
TF32_VARIABLE = "S4OP_ALLOW_TF32"  # the plugin reads it too, while an engine is built

_SYSTEM = (Path("/usr/local/lib"), Path("/usr/lib"))


@dataclass(frozen=True)
class PluginChoice:
    """The library to build with; or none, and why."""

    path: Path | None
    note: str | None


def choose_plugin(wanted: Path | Literal["auto"] | None) -> PluginChoice:
    """Settle on a library. Raises UsageError for one that was named and is not there or of no use."""
    named = wanted if isinstance(wanted, Path) else None
    if not library.has_plugin_layers():
        return _cannot_load(named)
    if wanted is None:
        return PluginChoice(None, "built without the SSMConv plugin, as asked")
    if named is None and os.environ.get(VARIABLE):
        named = Path(os.environ[VARIABLE])
    if named is not None:
        return PluginChoice(_existing(named), None)
    places = plugin_places()
    found = next((place for place in places if place.is_file()), None)
    if found is not None:
        return PluginChoice(found, None)
    looked = ", ".join(str(place) for place in places)
    return PluginChoice(None, f"no SSMConv plugin found ({VARIABLE}, {looked}): `make plugin` builds it")


def plugin_places() -> tuple[Path, ...]:
    """Where the library is looked for, in this order, if VARIABLE does not name it."""
    checkout = Path(__file__).resolve().parents[3]
    return (checkout / "build" / "trt_plugins" / LIBRARY, *(place / LIBRARY for place in _SYSTEM))


def load_plugin(path: Path) -> None:
    """Register the library's creators, once a process. Raises BuildError when TensorRT refuses it."""
    registry = library.load().get_plugin_registry()
    if _is_registered(registry):
        return
    if registry.load_library(str(path)) is None or not _is_registered(registry):
        raise BuildError(
            f"the plugin {path} cannot be loaded",
            reason="refused",
            expected=f"a library that registers {op.NAME}, version {op.PLUGIN_VERSION}",
            fix="build it on this device, against this TensorRT: `make plugin`",
        )


def _is_registered(registry: object) -> bool:
    creators = registry.all_creators  # type: ignore[attr-defined]  # get_creator logs an error for none
    return any(creator.name == op.NAME for creator in creators)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(
            f"there is no plugin {path}", fix=f"build it with `make plugin`, or unset {VARIABLE}"
        )
    return path.resolve()


def _cannot_load(named: Path | None) -> PluginChoice:
    what = f"{library.name()} {library.version()} has no plugin layers"
    if named is not None:
        raise UsageError(
            f"the plugin {named} cannot be used: {what}", expected="TensorRT 10.0 or later, or no plugin"
        )
    return PluginChoice(None, what)
