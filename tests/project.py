"""What tests about the project itself read: pyproject.toml and the modules of each package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10: pytest brings tomli there
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("edge_s4op", "host", "device_agent")


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def modules(package: str) -> list[str]:
    """Dotted names of every module of `package`, sorted; `__main__` modules are left out."""
    names = (path.relative_to(ROOT).with_suffix("").parts for path in files(package))
    dotted = (".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in names)
    return sorted(name for name in dotted if not name.endswith("__main__"))


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def distributions(extras: tuple[str, ...]) -> set[str]:
    """Normalised names of what `edge-s4op[extras]` asks for directly, nested extras resolved."""
    project = pyproject()["project"]
    return set(_names(project, project["dependencies"])).union(
        *(_names(project, project["optional-dependencies"][extra]) for extra in extras)
    )


def _names(project: dict[str, Any], requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        name, extras = re.fullmatch(r"([\w.-]+)(?:\[([\w,-]+)\])?.*", requirement).groups()
        if name == project["name"]:
            for extra in extras.split(","):
                yield from _names(project, project["optional-dependencies"][extra])
        else:
            yield re.sub(r"[-_.]+", "-", name).lower()
