"""The public names of edge_s4op, in one list that a reviewer sees change.

After a wanted change: python -m tests.test_public_names > tests/golden/public_names.txt
"""

from __future__ import annotations

import importlib

import pytest

from tests.project import ROOT, modules

GOLDEN = ROOT / "tests" / "golden" / "public_names.txt"


def public_names() -> str:
    """One line a name, `module.name`, modules in order and names in order within each."""
    found = [
        f"{module.__name__}.{name}"
        for module in map(importlib.import_module, modules("edge_s4op"))
        for name in sorted(getattr(module, "__all__", []))
    ]
    return "".join(f"{name}\n" for name in found)


def test_every_public_name_exists() -> None:
    for line in public_names().splitlines():
        module, _, name = line.rpartition(".")
        assert hasattr(importlib.import_module(module), name), f"__all__ of {module} lists {name}"


@pytest.mark.parametrize("module", modules("edge_s4op"))
def test_every_module_says_what_is_public(module: str) -> None:
    assert hasattr(importlib.import_module(module), "__all__")


def test_public_names_are_those_listed() -> None:
    assert public_names() == GOLDEN.read_text()


if __name__ == "__main__":
    print(public_names(), end="")
