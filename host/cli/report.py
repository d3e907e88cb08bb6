"""`s4op report`: the table, the picture and the page of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from host.cli.console import log
from host.cli.options import Json
from host.cli.prune import show_family
from host.family import FAMILY_NAME, read_family, select
from host.report import write_pareto, write_report

__all__ = ["report_command"]


def report_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a search, with family.json.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; default: the same folder.")] = None,
    latency_budget_ms: Annotated[float | None, typer.Option(help="Mark the model that fits.")] = None,
    as_json: Json = False,
) -> None:
    """Print a family of pruned models; write report.html and pareto.png.

    Example: s4op report runs/pruned
    """
    family = read_family(folder)
    base = folder.parent if folder.name == FAMILY_NAME else folder
    out = out or base
    chosen = None if latency_budget_ms is None else select(family, latency_budget_ms)
    write_pareto(family, out / "pareto.png", budget_ms=latency_budget_ms, chosen=chosen)
    write_report(family, out / "report.html", budget_ms=latency_budget_ms, chosen=chosen)
    show_family(family, base, latency_budget_ms, as_json)
    log.print(f"wrote {out / 'report.html'} and {out / 'pareto.png'}")
