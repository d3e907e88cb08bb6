"""`listops`: nested list operations, generated with the Long Range Arena grammar (arXiv 2011.04006).

An expression is a digit or an operator with 2 to `max_args` arguments, each again an expression:

    [MAX 4 3 [MIN 2 3 ] 1 0 [MED 1 5 8 9 2 ] ]   ->   5

Above depth `max_depth` an argument is an operator with probability 0.25 and a digit otherwise. MED is
the median, rounded down between two middle values; SM is the sum modulo 10. The class is the
expression's value. Kept are different expressions whose length, in tokens without parentheses, lies
strictly between `min_length` (by default a quarter of `max_length`) and `max_length`. The defaults are
the published data set: lengths within 500 and 2000, 96000 training, 2000 validation and 2000 test
rows; that takes about 40 s and 1.8 GB of memory, so try `n_train=2000` first.

Tokens are those of the published files, 18 with the padding. The files also write every argument as a
pair in parentheses, which says nothing new and makes the longest row 5995 instead of 1999 tokens;
most readers drop them. So does this one, unless asked with `parentheses=1`. Rows are padded to
`max_length`, or to the longest possible row with parentheses.

`seed` makes the data, and test rows are drawn first: the same `seed` gives the same test split
whatever the number of other rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_s4op.errors import UsageError
from host.data.listops_trees import TOKENS, Grammar, draw_expressions
from host.data.options import checked_options
from host.data.values import OptionValue, RawDataset, Split

__all__ = ["TOKENS", "ListopsOptions", "load_listops"]

_MAX_BARREN_DRAWS = 200_000


class ListopsOptions(BaseModel):
    """The limits of the published data set; `parentheses` 1 writes rows as the published files do."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_depth: int = Field(10, ge=2, le=100)
    max_args: int = Field(10, ge=2, le=1000)
    min_length: int | None = Field(None, ge=1)
    max_length: int = Field(2000, ge=5, le=1_000_000)
    n_train: int = Field(96_000, ge=1)
    n_validation: int = Field(2_000, ge=1)
    n_test: int = Field(2_000, ge=1)
    seed: int = Field(0, ge=0)
    parentheses: int = Field(0, ge=0, le=1)

    @model_validator(mode="after")
    def _some_length_is_between(self) -> ListopsOptions:
        if self.max_length - self.shortest < 2:
            raise ValueError("no length lies strictly between min_length and max_length")
        return self

    @property
    def shortest(self) -> int:
        """`min_length`, a quarter of `max_length` where it is not given."""
        return self.max_length // 4 if self.min_length is None else self.min_length

    @property
    def seq_len(self) -> int:
        """Length of a padded row: n tokens have n - 1 pairs of parentheses around them."""
        return 3 * (self.max_length - 1) - 2 if self.parentheses else self.max_length


def load_listops(name: str, options: Mapping[str, OptionValue]) -> RawDataset:
    """Generate the data, int64 (n, seq_len). Raises UsageError for options that cannot be met."""
    if name:
        raise UsageError(
            f"dataset 'listops' takes no name, only options; found {name!r}",
            fix="write listops or listops:max_depth=5,max_length=500",
        )
    checked = checked_options("listops", ListopsOptions, options)
    expressions = _distinct_expressions(checked)
    test, validation, train = (
        _split(expressions, count, checked)
        for count in (checked.n_test, checked.n_validation, checked.n_train)
    )
    return RawDataset(train, validation, test, tuple("0123456789"), vocab_size=len(TOKENS))


def _split(expressions: Iterator[tuple[np.ndarray, int]], count: int, options: ListopsOptions) -> Split:
    x = np.zeros((count, options.seq_len), dtype=np.int64)
    y, lengths = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    for row in range(count):
        tokens, y[row] = next(expressions)
        x[row, : len(tokens)], lengths[row] = tokens, len(tokens)
    return Split(x, y, lengths)


def _distinct_expressions(options: ListopsOptions) -> Iterator[tuple[np.ndarray, int]]:
    """Tokens and value of one expression after another, none twice."""
    rng = np.random.default_rng(options.seed)
    grammar = Grammar(
        options.max_depth, options.max_args, options.shortest, options.max_length, bool(options.parentheses)
    )
    seen: set[bytes] = set()
    barren = 0
    while barren < _MAX_BARREN_DRAWS:
        before = len(seen)
        drawn, expressions = draw_expressions(rng, grammar)
        for tokens, value in expressions:
            digest = hashlib.blake2b(tokens.tobytes(), digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                yield tokens, value
        barren = 0 if len(seen) > before else barren + drawn
    raise UsageError(
        f"listops: the last {barren} draws gave no new expression within the limits",
        expected=f"{options.n_train + options.n_validation + options.n_test} different expressions",
        found=f"{len(seen)} with max_depth={options.max_depth}, max_args={options.max_args} "
        f"and a length between {options.shortest} and {options.max_length}",
        fix="allow more depth, arguments or lengths, or ask for fewer rows",
    )
