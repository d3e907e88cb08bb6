"""`s4op prune`: prune a trained model, steered by latencies measured on the device."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from edge_s4op.client import AgentClient
from edge_s4op.errors import UsageError
from host.cli.console import emit_json, log, result, resumable
from host.cli.options import (
    DEFAULT_AGENT,
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
from host.remeasuring import REMEASURE
from host.report import family_rows, family_table
from host.search import (
    PUBLISHED_RATES,
    PUBLISHED_SEEDS,
    Placement,
    PruneOptions,
    prune_search,
    published_options,
)

__all__ = ["prune_command", "show_family"]

_SEEDS = ",".join(map(str, PUBLISHED_SEEDS))
_RATES = ",".join(f"{rate:g}" for rate in PUBLISHED_RATES)
_CRITERIA, _ALLOCATORS, _SCHEDULES = (
    ", ".join(registry.names()) for registry in (CRITERIA, ALLOCATORS, SCHEDULES)
)

Agents = Annotated[
    list[str] | None,
    typer.Option(
        "--agent",
        help=f"Address of a device agent; repeat it to measure on several. Default: {DEFAULT_AGENT}.",
        envvar="S4OP_AGENT",
    ),
]


def prune_command(
    checkpoint: CheckpointArgument,
    out: Annotated[Path, typer.Option(help="Folder of the search: trials, kept models, family.json.")],
    agent: Agents = None,
    latency_budget_ms: Annotated[
        str | None,
        typer.Option(help="Find the best model that measures under this; several: falling, by commas."),
    ] = None,
    latency_budget_ratio: Annotated[
        str | None, typer.Option(help="The same, as a share of the unpruned model's p50: 0.5 halves it.")
    ] = None,
    energy_budget_mj: Annotated[
        str | None, typer.Option(help="The same for energy an inference, on a board that reports power.")
    ] = None,
    pruning_ratio: Annotated[
        float | None, typer.Option(help="Prune this share of the operators; --rates with one rate.")
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(help=f"Shares of operators to prune, increasing. Default without a budget: {_RATES}."),
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="A budget may also remove residual channels.")
    ] = False,
    states: Annotated[
        bool, typer.Option("--states", help="A budget may also remove states of the operators.")
    ] = False,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="The paper's search: random criterion, depth-exponential shares, 5 candidates a rate.",
        ),
    ] = False,
    criterion: Annotated[
        str | None, typer.Option(help=f"How operators are scored (default fisher): {_CRITERIA}.")
    ] = None,
    allocator: Annotated[
        str | None, typer.Option(help=f"How layers share a rate (default global): {_ALLOCATORS}.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Candidates tried per stage; default 1, --published 5.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Their seeds, in order.")] = _SEEDS,
    schedule: Annotated[str, typer.Option(help=f"How rates follow: {_SCHEDULES}.")] = "incremental",
    fine_tune_epochs: Annotated[
        int | None, typer.Option(help="Default: 5/32 of the training's; --published an eighth.")
    ] = None,
    fine_tune_lr: Annotated[float | None, typer.Option(help="Default: the training's.")] = None,
    distill: Annotated[
        float | None,
        typer.Option(help="Weight of the unpruned model's answers in the loss; default 0.5, 0: none."),
    ] = None,
    gradual: Annotated[
        float, typer.Option(help="Share of the fine-tuning over which operators leave one by one.")
    ] = 0.0,
    executor: Annotated[
        str, typer.Option(help="Where candidates are fine-tuned: processes, ray.")
    ] = "processes",
    ray_address: Annotated[
        str | None, typer.Option(help="A Ray cluster; default: Ray on this machine.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Candidates fine-tuned at once; default: one a core.")
    ] = None,
    mixed_devices: Annotated[
        bool, typer.Option("--mixed-devices", help="Agents are of different kinds: budgets hold on all.")
    ] = False,
    agent_wait_s: Annotated[float, typer.Option(help="How long a lost agent is waited for.")] = 300.0,
    backend: BackendName = None,
    threads: Threads = 1,
    precision: Precision = 0.02,
    max_duration_ms: MaxDuration = 3000.0,
    remeasure: Annotated[
        int, typer.Option(help="Repeat a measurement that something disturbed so often at most.")
    ] = REMEASURE,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the search in OUT where it was stopped or killed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Prune a trained model, steered by latencies measured on the device.

    Under a latency budget: learns what each layer costs on the device, keeps the operators that matter most
    within the budget, and ends in a model that measures under it. With rates: prunes rate by rate; the best
    model of every rate is kept. Every structure is measured before its fine-tuning is paid for. A search
    stopped at any point continues with --resume.

    Example: s4op prune runs/gunpoint/model --out runs/pruned --latency-budget-ms 0.8
    """
    _, extra = load_checkpoint(checkpoint)
    provenance = provenance_of(extra, checkpoint)
    budgets = _budgets(latency_budget_ms, latency_budget_ratio, energy_budget_mj)
    tuning = {"epochs": fine_tune_epochs, "lr": fine_tune_lr, "distill": distill, "gradual": gradual}
    options = checked(
        published_options if published else PruneOptions,
        {
            "rates": _rates(rates, pruning_ratio, budgeted=bool(budgets)),
            "budgets": budgets,
            "seeds": integers(seeds, "--seeds"),
            "schedule": schedule,
            "features": features,
            "states": states,
            "training": provenance.training,
            "fine_tuning": _given(tuning),
            "measurement": measurement_settings(
                backend=backend, threads=threads, precision=precision, max_duration_ms=max_duration_ms
            ),
            "remeasure": remeasure,
            **_given({"criterion": criterion, "allocator": allocator, "candidates": candidates}),
        },
    )
    place = checked(
        Placement,
        {
            "executor": executor,
            "ray_address": ray_address,
            "workers": workers,
            "mixed_devices": mixed_devices,
            "agent_wait_s": agent_wait_s,
        },
    )
    dataset = provenance.data.load()
    trials = 1 + (len(options.rates) + len(options.budgets)) * options.candidates
    with contextlib.ExitStack() as stack:
        stack.enter_context(resumable(out))
        clients = [stack.enter_context(AgentClient.connect(url)) for url in agent or [DEFAULT_AGENT]]
        follow = stack.enter_context(searching_bar(trials))
        family = prune_search(
            checkpoint, dataset, clients, options, out, placement=place, resume=resume, on_progress=follow
        )
    show_family(family, out, _limit_ms(latency_budget_ms), as_json)


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


def _budgets(latency_ms: str | None, ratio: str | None, energy_mj: str | None) -> list[dict[str, object]]:
    asked = {"latency_ms": latency_ms, "latency_ratio": ratio, "energy_mj": energy_mj}
    options = {
        "latency_ms": "--latency-budget-ms",
        "latency_ratio": "--latency-budget-ratio",
        "energy_mj": "--energy-budget-mj",
    }
    budgets: list[dict[str, object]] = []
    for quantity, text in asked.items():
        for value in () if text is None else floats(text, options[quantity]):
            if not value > 0:
                raise UsageError(f"{options[quantity]}: a budget must be above 0", found=f"{value:g}")
            budgets.append({"quantity": quantity, "value": value})
    return budgets


def _rates(rates: str | None, ratio: float | None, *, budgeted: bool) -> tuple[float, ...]:
    if rates is not None and ratio is not None:
        raise UsageError("--pruning-ratio and --rates exclude each other", fix="give one of them")
    if ratio is not None:
        return (ratio,)
    if rates is not None:
        return floats(rates, "--rates")
    return () if budgeted else PUBLISHED_RATES


def _limit_ms(text: str | None) -> float | None:
    """The tightest latency budget asked for."""
    return None if text is None else min(floats(text, "--latency-budget-ms"))


def _given(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _choice(family: Family, trial: Trial | None, folder: Path) -> dict[str, object]:
    if trial is None or trial.model is None:
        return {}
    return {"chosen": trial.model, "folder": str(folder / family.models[trial.model])}
