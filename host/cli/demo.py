"""`s4op demo`: the whole loop in one command."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from edge_s4op.client import AgentClient
from edge_s4op.errors import UsageError
from host.agent_process import local_agent, terminate_as_interrupt
from host.cli.console import emit_json, log, result
from host.cli.options import Json
from host.cli.progress import searching_bar, training_bar
from host.demo import (
    RATES,
    VALIDATION_FRACTION,
    Served,
    demo_budget_ms,
    prune_trained,
    serve_and_query,
    train_demo_model,
)
from host.family import Family, Trial
from host.provenance import DataSource
from host.report import family_rows, family_table, write_pareto, write_report

__all__ = ["demo_command"]

_OURS = ("train", "search", "agent", "report.html", "pareto.png")


def demo_command(
    out: Annotated[Path, typer.Option(help="Folder of everything the demo makes.")] = Path("demo-output"),
    dataset: Annotated[str, typer.Option(help="A dataset, as `s4op train` takes it.")] = "ucr:GunPoint",
    agent: Annotated[
        str | None, typer.Option(help="Use this agent instead of starting one here.", envvar="S4OP_AGENT")
    ] = None,
    latency_budget_ms: Annotated[
        float | None, typer.Option(help="Default: halfway between the slowest and the fastest model.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier demo left in OUT.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train, prune, export, serve and query a model, all in one go.

    Trains S4D on real data, prunes it on latencies that an agent measures, exports it, serves the model
    that fits a latency budget, and sends it the whole test set over HTTP. The agent is the demo's own, on a
    free port, and is stopped at the end, also on Ctrl-C. Takes one to three minutes on two cores.
    """
    torch.set_num_threads(1)  # models this small are fastest on one core, and the agent needs the other
    source = DataSource(spec=dataset, validation_fraction=VALIDATION_FRACTION)
    data = source.load()
    _prepare(out, overwrite)
    with terminate_as_interrupt(), _agent(agent, out / "agent") as url, AgentClient.connect(url) as client:
        device = client.device()
        sizes = (len(data.train), len(data.validation), len(data.test))
        log.print("{}: {} training, {} validation, {} test sequences".format(data.name, *sizes))
        log.print(f"agent on {url}: {device.board}, {device.cpu}, {device.cores} cores")
        with training_bar(f"training S4D on {data.name}") as follow:
            trained = train_demo_model(source, data, out / "train", follow)
        log.print(f"trained: test accuracy {trained.provenance.accuracy['test']:.1%}")
        with searching_bar(1 + len(RATES)) as search:
            family = prune_trained(trained, data, client, out / "search", search)
        budget_ms = demo_budget_ms(family) if latency_budget_ms is None else latency_budget_ms
        if not as_json:
            result.print(family_table(family))
        _write(family, budget_ms, None, None, out)  # should none fit the budget, this much is there
        chosen, served = serve_and_query(family, out / "search", budget_ms, data, client, _name_of(dataset))
    _write(family, budget_ms, chosen, served, out)
    _show(family, budget_ms, chosen, served, out, as_json)


def _write(family: Family, budget_ms: float, chosen: Trial | None, served: Served | None, out: Path) -> None:
    write_pareto(family, out / "pareto.png", budget_ms=budget_ms, chosen=chosen)
    answered = None if served is None else asdict(served)
    write_report(family, out / "report.html", budget_ms=budget_ms, chosen=chosen, served=answered)


def _show(family: Family, budget_ms: float, chosen: Trial, served: Served, out: Path, as_json: bool) -> None:
    if as_json:
        emit_json(
            {
                "models": family_rows(family),
                "budget_ms": budget_ms,
                "chosen": chosen.model,
                "served": asdict(served),
                "report": str(out / "report.html"),
            }
        )
        return
    p50 = chosen.latency.p50_ms if chosen.latency else float("nan")
    name = f"{chosen.model} ({chosen.rate:.0%} pruned)"
    result.print(f"budget {budget_ms:.3f} ms: {name} fits, measured p50 {p50:.3f} ms")
    result.print(
        f"served at {served.url}: {served.samples} test sequences over HTTP, "
        f"accuracy {served.accuracy_http:.2%}; offline {served.accuracy_offline:.2%}"
    )
    result.print(f"wrote {out / 'report.html'} and {out / 'pareto.png'}")


@contextlib.contextmanager
def _agent(url: str | None, folder: Path) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with local_agent(folder) as own:
        yield own


def _prepare(out: Path, overwrite: bool) -> None:
    """Make `out`; what an earlier demo left there is removed only when asked."""
    found = [name for name in _OURS if (out / name).exists()]
    if found and not overwrite:
        raise UsageError(f"{out} holds an earlier demo", found=", ".join(found), fix="add --overwrite")
    for name in found:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _name_of(dataset: str) -> str:
    """A name the agent accepts: ucr:GunPoint -> gunpoint, npz:/data/mine.npz -> mine."""
    kind, _, rest = dataset.partition(":")
    stem = Path(rest.partition(":")[0]).stem.lower() or kind
    name = re.sub(r"[^a-z0-9_.-]", "-", stem).strip("._-")
    return name[:64] or "demo"
