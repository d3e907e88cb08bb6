"""The second half of `pruning` by itself: latency budgets, planned, held and measured once more."""

from __future__ import annotations

from benchmarks.harness import run
from benchmarks.pruning import budgets

if __name__ == "__main__":
    run("pruning_budgets", budgets)
