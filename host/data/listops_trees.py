"""Drawing many list operations at once: every step works on one depth of all trees together.

Trees are drawn from the root down, valued and measured from the leaves up, and written from the root
down. A depth lists its nodes in reading order, so the arguments of an operator lie next to each other
one depth below, in the order of the operators: no pointers are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["TOKENS", "Grammar", "draw_expressions"]

TOKENS = ("<pad>", "(", ")", *"0123456789", "[MAX", "[MED", "[MIN", "[SM", "]")
_OPEN, _CLOSE, _DIGIT, _OPERATOR, _END = (TOKENS.index(token) for token in ("(", ")", "0", "[MAX", "]"))
_OPERATORS = 4
_OPERATOR_PROBABILITY = 0.25
_TREES_AT_ONCE, _TOKENS_AT_ONCE = 1024, 2_000_000


@dataclass(frozen=True)
class Grammar:
    """Limits of a tree; its length without parentheses lies strictly between the two lengths."""

    max_depth: int
    max_args: int
    min_length: int
    max_length: int
    parentheses: bool


@dataclass(frozen=True)
class _Depth:
    """The nodes at one depth: their tree, operator or digit, and each operator's argument count."""

    tree: np.ndarray  # (nodes,)
    is_operator: np.ndarray  # (nodes,) bool
    symbol: np.ndarray  # (nodes,) index of the operator, or the digit
    arguments: np.ndarray  # (operators,)

    @property
    def argument_starts(self) -> np.ndarray:
        """Where each operator's arguments begin one depth below."""
        return np.cumsum(self.arguments) - self.arguments


def draw_expressions(
    rng: np.random.Generator, grammar: Grammar
) -> tuple[int, Iterator[tuple[np.ndarray, int]]]:
    """How many trees were drawn, and (tokens uint8, value) of those within the limits."""
    count = max(1, min(_TREES_AT_ONCE, _TOKENS_AT_ONCE // grammar.max_length))
    depths, fits = _draw_trees(rng, count, grammar)
    return count, _written([_only(depth, fits) for depth in depths], int(fits.sum()), grammar.parentheses)


def _draw_trees(rng: np.random.Generator, count: int, grammar: Grammar) -> tuple[list[_Depth], np.ndarray]:
    """All trees, depth by depth, and which fit; a tree already too long is not drawn further.

    Every root is an operator: a single digit is shorter than any `min_length` from 1 lets pass.
    """
    length, small = np.zeros(count, dtype=np.int64), np.ones(count, dtype=bool)
    tree, depths = np.arange(count), list[_Depth]()
    while tree.size:
        depth = _draw_depth(rng, tree, len(depths) + 1, grammar)
        operators = tree[depth.is_operator]
        length += np.bincount(tree, minlength=count) + np.bincount(operators, minlength=count)
        least = length + np.bincount(operators, weights=depth.arguments, minlength=count)
        small &= least < grammar.max_length
        depths.append(depth)
        going_on = small[operators]
        tree = np.repeat(operators[going_on], depth.arguments[going_on])
    return depths, small & (length > grammar.min_length)


def _draw_depth(rng: np.random.Generator, tree: np.ndarray, depth: int, grammar: Grammar) -> _Depth:
    if depth == 1:
        is_operator = np.ones(tree.size, dtype=bool)
    elif depth < grammar.max_depth:
        is_operator = rng.random(tree.size) < _OPERATOR_PROBABILITY
    else:
        is_operator = np.zeros(tree.size, dtype=bool)
    symbol = rng.integers(0, np.where(is_operator, _OPERATORS, 10))
    arguments = rng.integers(2, grammar.max_args, size=int(is_operator.sum()), endpoint=True)
    return _Depth(tree, is_operator, symbol, arguments)


def _only(depth: _Depth, fits: np.ndarray) -> _Depth:
    """The nodes of the trees that fit, these trees numbered anew from 0."""
    kept = fits[depth.tree]
    number = np.cumsum(fits) - 1
    arguments = depth.arguments[kept[depth.is_operator]]
    return _Depth(number[depth.tree[kept]], depth.is_operator[kept], depth.symbol[kept], arguments)


def _written(depths: list[_Depth], count: int, parentheses: bool) -> Iterator[tuple[np.ndarray, int]]:
    values, sizes = _values_and_sizes(depths, int(parentheses))
    if count == 0:
        return
    rows = np.full((count, int(sizes[0].max())), _OPEN, dtype=np.uint8)
    _write_tokens(rows, depths, sizes, int(parentheses))
    for row, size, value in zip(rows, sizes[0].tolist(), values[0].tolist(), strict=True):
        yield row[:size], value


def _values_and_sizes(depths: list[_Depth], pairs: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Value and number of tokens of every node; with `pairs` 1 counting parentheses."""
    values = [depth.symbol.copy() for depth in depths]
    sizes = [np.ones(depth.tree.size, dtype=np.int64) for depth in depths]
    for above in range(len(depths) - 2, -1, -1):
        depth, n = depths[above], depths[above].arguments
        if n.size == 0:
            continue
        operators, below = depth.is_operator, above + 1
        values[above][operators] = _evaluated(depth.symbol[operators], n, values[below])
        inside = np.add.reduceat(sizes[below], depth.argument_starts)
        sizes[above][operators] = inside + 2 + pairs * 2 * (n + 1)
    return values, sizes


def _evaluated(operators: np.ndarray, n: np.ndarray, arguments: np.ndarray) -> np.ndarray:
    """Value of each operator from how often each digit is among its n arguments."""
    owner = np.repeat(np.arange(n.size), n)
    counts = np.bincount(owner * 10 + arguments, minlength=n.size * 10).reshape(-1, 10)
    up_to = counts.cumsum(axis=1)

    def smallest(k: np.ndarray) -> np.ndarray:
        return (up_to <= k[:, None]).sum(axis=1)

    median = (smallest((n - 1) // 2) + smallest(n // 2)) // 2
    total = (counts * np.arange(10)).sum(axis=1) % 10
    return np.choose(operators, [smallest(n - 1), median, smallest(n * 0), total])  # as in TOKENS


def _write_tokens(rows: np.ndarray, depths: list[_Depth], sizes: list[np.ndarray], pairs: int) -> None:
    """Write every node into its tree's row; what is never written stays an opening parenthesis.

    With parentheses an operator of n arguments reads `( ... ( [MAX a ) b ) ] )` with n + 1 opening.
    """
    start = np.zeros(depths[0].tree.size, dtype=np.int64)
    for above, depth in enumerate(depths):
        operators, n = depth.is_operator, depth.arguments
        digits = ~operators
        rows[depth.tree[digits], start[digits]] = _DIGIT + depth.symbol[digits]
        if n.size == 0:
            return
        tree, end = depth.tree[operators], (start + sizes[above])[operators]
        head = start[operators] + pairs * (n + 1)
        rows[tree, head] = _OPERATOR + depth.symbol[operators]
        rows[tree, end - 1 - pairs] = _END
        below = sizes[above + 1] + pairs  # an argument and the parenthesis that closes its pair
        before = np.cumsum(below) - below
        start = np.repeat(head + 1 - before[depth.argument_starts], n) + before
        if pairs:
            rows[tree, end - 1] = _CLOSE
            rows[depths[above + 1].tree, start + below - 1] = _CLOSE
