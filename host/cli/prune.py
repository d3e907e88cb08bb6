"""`s4op prune`: prune a trained model, steered by latencies measured on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_s4op.client import AgentClient
from host.cli.console import emit_json, log, result, resumable
from host.cli.options import (
    DEFAULT_AGENT,
    AgentUrl,
    BackendName,
    CheckpointArgument,
    Json,
    MaxDuration,
    Precision,
    Threads,
    checked,
    floats,
    integers,
    measurement_settings,
)
from host.cli.progress import searching_bar
from host.family import FAMILY_NAME, Family, Trial, select
from host.models import load_checkpoint
from host.provenance import provenance_of
from host.pruning import ALLOCATORS, CRITERIA, SCHEDULES
from host.report import family_rows, family_table
from host.search import PUBLISHED_RATES, PUBLISHED_SEEDS, PruneOptions, prune_search

__all__ = ["prune_command", "show_family"]

_RATES = ",".join(f"{rate:g}" for rate in PUBLISHED_RATES)
_SEEDS = ",".join(map(str, PUBLISHED_SEEDS))
_CRITERIA, _ALLOCATORS, _SCHEDULES = (
    ", ".join(registry.names()) for registry in (CRITERIA, ALLOCATORS, SCHEDULES)
)


def prune_command(
    checkpoint: CheckpointArgument,
    out: Annotated[Path, typer.Option(help="Folder of the search: trials, kept models, family.json.")],
    agent: AgentUrl = DEFAULT_AGENT,
    rates: Annotated[str, typer.Option(help="Shares of operators to prune, increasing.")] = _RATES,
    candidates: Annotated[int, typer.Option(help="Candidates tried per rate.")] = 5,
    seeds: Annotated[str, typer.Option(help="Their seeds, in order.")] = _SEEDS,
    criterion: Annotated[str, typer.Option(help=f"How operators are scored: {_CRITERIA}.")] = "random",
    allocator: Annotated[
        str, typer.Option(help=f"How layers share a rate: {_ALLOCATORS}.")
    ] = "depth-exponential",
    schedule: Annotated[str, typer.Option(help=f"How rates follow: {_SCHEDULES}.")] = "incremental",
    fine_tune_epochs: Annotated[
        int | None, typer.Option(help="Default: an eighth of the training's.")
    ] = None,
    fine_tune_lr: Annotated[float | None, typer.Option(help="Default: the training's.")] = None,
    latency_budget_ms: Annotated[
        float | None, typer.Option(help="Name the most accurate model whose measured p50 fits.")
    ] = None,
    backend: BackendName = None,
    threads: Threads = 1,
    precision: Precision = 0.02,
    max_duration_ms: MaxDuration = 3000.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the search in OUT where it was stopped or killed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Prune a trained model, steered by latencies measured on the device.

    Whole SSM operators go, rate by rate, and the best model of every rate is kept. Every candidate's
    structure is exported, sent to the agent and measured before its fine-tuning is paid for. A search
    stopped at any point continues with --resume and ends in the same family.

    Example: s4op prune runs/gunpoint/model --out runs/pruned --latency-budget-ms 0.8
    """
    _, extra = load_checkpoint(checkpoint)
    provenance = provenance_of(extra, checkpoint)
    options = checked(
        PruneOptions,
        {
            "rates": floats(rates, "--rates"),
            "candidates": candidates,
            "seeds": integers(seeds, "--seeds"),
            "criterion": criterion,
            "allocator": allocator,
            "schedule": schedule,
            "training": provenance.training,
            "fine_tune_epochs": fine_tune_epochs,
            "fine_tune_lr": fine_tune_lr,
            "measurement": measurement_settings(
                backend=backend, threads=threads, precision=precision, max_duration_ms=max_duration_ms
            ),
        },
    )
    dataset = provenance.data.load()
    models = 1 + len(options.rates) * options.candidates
    with resumable(out), AgentClient.connect(agent) as client, searching_bar(models) as follow:
        family = prune_search(checkpoint, dataset, client, options, out, resume=resume, on_progress=follow)
    show_family(family, out, latency_budget_ms, as_json)


def show_family(family: Family, folder: Path, budget_ms: float | None, as_json: bool) -> None:
    """Print the family, and the model that fits the budget. Raises BudgetError, after the table."""
    log.print(f"family in {folder / FAMILY_NAME}")
    chosen = None
    try:
        chosen = None if budget_ms is None else select(family, budget_ms)
    finally:
        if not as_json:
            result.print(family_table(family, budget_ms=budget_ms, chosen=chosen))
    if as_json:
        rows = family_rows(family, budget_ms=budget_ms, chosen=chosen)
        emit_json({"family": str(folder / FAMILY_NAME), "models": rows, **_choice(family, chosen, folder)})
    elif chosen is not None and chosen.latency is not None:
        p50, where = chosen.latency.p50_ms, _choice(family, chosen, folder)["folder"]
        name = f"{chosen.model} ({chosen.rate:.0%} pruned)"
        log.print(f"fits {budget_ms:g} ms: {name}, p50 {p50:.4g} ms, in {where}")


def _choice(family: Family, trial: Trial | None, folder: Path) -> dict[str, object]:
    if trial is None or trial.model is None:
        return {}
    return {"chosen": trial.model, "folder": str(folder / family.models[trial.model])}
