"""Errors say what, expected, found and fix in one line, and form the tree drawn in errors.py."""

from __future__ import annotations

import inspect
import re

from edge_s4op import errors
from edge_s4op.errors import BudgetError, S4opError, UnknownNameError


def test_an_error_is_one_line_with_all_its_parts():
    error = S4opError("x.npz: y has the wrong shape", expected="(3,)", found="(4,)", fix="drop one label")
    assert str(error) == "x.npz: y has the wrong shape; expected (3,); found (4,); drop one label"
    assert (error.expected, error.found, error.fix) == ("(3,)", "(4,)", "drop one label")


def test_near_names_are_offered():
    error = UnknownNameError("criterion", "randon", ["random", "magnitude"])
    assert error.near == ["random"]
    assert "did you mean random?" in str(error)
    assert "magnitude" in str(UnknownNameError("criterion", "zzz", ["random", "magnitude"]))


def test_budget_error_names_the_smallest_reached():
    error = BudgetError(1.0, 2.345)
    assert error.smallest == 2.345
    assert "2.345 ms" in str(error)


def test_the_drawn_tree_is_the_real_tree():
    lines = [line for line in (inspect.getdoc(errors) or "").splitlines() if re.search(r"\w+Error", line)]
    parents: dict[int, str] = {}
    for line in lines:
        name = re.search(r"\w+Error", line).group()
        depth = line.index(name) // 4
        parents[depth] = name
        if depth > 1:
            assert getattr(errors, name).__base__.__name__ == parents[depth - 1], name
    assert {re.search(r"\w+Error", line).group() for line in lines} == set(errors.__all__)
