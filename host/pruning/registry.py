"""Named functions: what a user may choose by name on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from edge_s4op.errors import UnknownNameError, UsageError

__all__ = ["Registry"]

Function = TypeVar("Function", bound=Callable[..., object])


class Registry(Generic[Function]):
    """Functions of one kind by name; `@CRITERIA.register("random")` above a function adds it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._functions: dict[str, Function] = {}

    def register(self, name: str) -> Callable[[Function], Function]:
        """Decorator that makes a function selectable as `name`. Raises UsageError if the name is taken."""
        if name in self._functions:
            raise UsageError(f"{self.kind} {name!r} is already registered", fix="choose another name")

        def add(function: Function) -> Function:
            self._functions[name] = function
            return function

        return add

    def get(self, name: str) -> Function:
        """The function called `name`. Raises UnknownNameError, which offers near names."""
        if name not in self._functions:
            raise UnknownNameError(self.kind, name, self._functions)
        return self._functions[name]

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._functions))
