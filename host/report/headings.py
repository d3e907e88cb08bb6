"""Column headings that name a model by what was asked of it."""

from __future__ import annotations

from host.family import Trial
from host.report.html import Html, element
from host.report.names import is_budgeted, share_name, stage_label

__all__ = ["stage_heading"]


def stage_heading(trial: Trial, *details: str) -> Html:
    """ "30 % pruned"; "budget 0.8 ms" with the share it came to; each detail on a smaller line."""
    label = stage_label(trial.stage, trial.rate)
    share = [f"{share_name(trial.stage, trial.rate)} pruned"] if is_budgeted(trial.stage) else []
    lines = (element("small", _unbroken(line)) for line in (*share, *details))
    return element("span", _unbroken(label), *lines)


def _unbroken(words: str) -> str:
    """A number and its unit stay on one line."""
    for unit in ("%", "ms", "mJ"):
        words = words.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    return words
