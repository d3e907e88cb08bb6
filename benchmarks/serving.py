"""Our agent beside LitServe and a plain FastAPI endpoint: the same ONNX file, machine, client and run.

Every server is a process (or several, as it likes) on this machine; they take turns, and our peers stand
still between theirs. The client is a process, too, on the same cores: `client` is its share of one core.
Figures in the table are medians of rounds. Ratios are taken round by round, so that a slow moment of the
machine cancels out; LitServe is the best of its three configurations in that round.

    small   S4D, L=150, H=32, depth 4, as the demo's (UCR GunPoint): 150 numbers in
    large   S4D, L=4096, H=16, depth 1: 4096 numbers in, so that reading them costs what the model costs

Ours with its default settings in JSON, as the others get it, and with the protocol's binary tensors; `ours,
one by one` joins no requests (ServeRequest.max_batch 1). LitServe as it comes, as it is tuned for processors,
and tuned with up to 8 requests joined, for which a user has to write code. `run` is the runner, in process.

    rps_vs_litserve_c8    small, JSON, 8 clients, ours (defaults) over LitServe; wanted >= 2
    overhead_ms_p50_c1    p50 over HTTP (JSON) at one client less p50 of `runner.run`; wanted <= 1
    stream_speedup        of `python -m benchmarks.streaming`
Further: `rps_vs_PEER[_large][_binary|_single]_cN`. No answer may fail; one in 20 is compared with the
runner's logits.
"""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import streaming
from benchmarks.harness import Ratio, Report, Timings, run, tell
from benchmarks.serving_load import Load, Plan, load_process, percentile_ms
from benchmarks.serving_processes import PEERS, agent, peer
from benchmarks.serving_wire import PLAIN_JSON, V2_BINARY, V2_JSON, Wire, requests_of, wrong_answers
from edge_s4op.artifact import Artifact
from edge_s4op.runtime import Runner, open_runner
from host.export import export_model
from host.models import Classifier, ModelConfig

__all__ = ["MODELS", "artifact_of", "checked", "inputs_of"]

MODELS = {"small": (150, 32, 4), "large": (4096, 16, 1), "wide": (150, 128, 4)}  # L, H, depth
COMPARED = ("small", "large")
INPUTS = 8  # different ones: a server that mixes its answers up is found out
OURS, BINARY, SINGLE, ALONE = "ours", "ours, binary", "ours, one by one", "run"

# Servers of which the best one counts, by the name of the figure.
PEERS_OF = {
    "litserve": ("litserve", "litserve, batches", "litserve, defaults"),
    "fastapi": ("fastapi",),
}

SendLoad = Callable[[Plan], Load]


@dataclass(frozen=True)
class Case:
    """One row's server: where it is, what it is sent, and what to do meanwhile."""

    port: int
    wire: Wire
    path: str
    turn: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext


@dataclass(frozen=True)
class Setup:
    """What all servers are given, and how long each turn lasts."""

    model: str
    artifact: Artifact
    runner: Runner
    inputs: Sequence[np.ndarray]
    expected: Sequence[np.ndarray]
    clients: Sequence[int]
    rounds: int
    turn_s: float


Loads = Mapping[tuple[str, int], list[Load]]


def measure(quick: bool) -> Report:
    """Our agent, LitServe and a plain FastAPI endpoint: requests a second and latency at 1, 8, 64 clients."""
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    with load_process() as send, tempfile.TemporaryDirectory() as folder:
        for model in COMPARED:
            setup = _setup(model, quick)
            with _cases(setup, Path(folder)) as cases:
                loads, alone_ms = _rounds(setup, cases, send)
            rows += _rows(setup, loads, alone_ms)
            figures |= _figures(model, loads, alone_ms)
            setup.runner.close()
    figures["stream_speedup"] = streaming.measure(True).figures["stream_speedup"]
    columns = ("model", "clients", "server", "requests/s", "p50 ms", "p99 ms", "ours/it", "refused", "client")
    return Report(columns, rows, figures)


def artifact_of(model: str) -> Artifact:
    """The model's file; what it has learnt does not matter here."""
    seq_len, width, depth = MODELS[model]
    torch.manual_seed(0)
    config = ModelConfig(kind="s4d", num_classes=2, seq_len=seq_len, d_input=1, d_model=width, depth=depth)
    return export_model(Classifier(config).eval())


def inputs_of(runner: Runner) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs (1, L, 1) whose logits tell them apart, and these logits."""
    generator = np.random.default_rng(0)
    shape = (1, runner.manifest.seq_len, 1)
    # Scaled, since logits of white noise are means over L and hardly differ.
    inputs = [(k + 1) * generator.standard_normal(shape).astype(np.float32) for k in range(INPUTS)]
    expected = [runner.run({"input": x})["logits"] for x in inputs]
    assert len({tuple(np.round(logits[0], 2)) for logits in expected}) == INPUTS, "logits too much alike"
    return inputs, expected


def checked(load: Load, wire: Wire, expected: Sequence[np.ndarray], whose: str) -> Load:
    """The load. Raises AssertionError if an answer failed or was wrong: figures of it would mean nothing."""
    assert not load.others, f"{whose}: answers with status {dict(load.others)}"
    assert load.kept, f"{whose}: no answer"
    wrong = wrong_answers(wire, load.kept, expected)
    assert not wrong, f"{whose}: {wrong} of {len(load.kept)} answers are wrong"
    return load


def _setup(model: str, quick: bool) -> Setup:
    artifact = artifact_of(model)
    runner = open_runner(artifact, "onnxruntime", threads=1)
    clients = ((1, 8) if model == "small" else (8,)) if quick else (1, 8, 64)
    inputs, expected = inputs_of(runner)
    rounds, turn_s = (2, 0.3) if quick else (5, 2.0)
    return Setup(model, artifact, runner, inputs, expected, clients, rounds, turn_s)


@contextlib.contextmanager
def _cases(setup: Setup, folder: Path) -> Iterator[dict[str, Case]]:
    """All servers, started one after the other; the peers stand still but in their turns."""
    path = folder / f"{setup.model}.onnx"
    path.write_bytes(setup.artifact.content)
    with contextlib.ExitStack() as started:
        ours = started.enter_context(
            agent(folder / setup.model, setup.artifact, {"default": {}, "single": {"max_batch": 1}})
        )
        cases = {
            OURS: Case(ours, V2_JSON, "/v2/models/default/infer"),
            BINARY: Case(ours, V2_BINARY, "/v2/models/default/infer"),
            SINGLE: Case(ours, V2_JSON, "/v2/models/single/infer"),
        }
        for name in _installed_peers():
            server = started.enter_context(peer(name, path))
            cases[name] = Case(server.port, PLAIN_JSON, "/predict", server.turn)
        yield cases


def _installed_peers() -> list[str]:
    if importlib.util.find_spec("litserve"):
        return list(PEERS)
    print("litserve is left out: pip install -c constraints.txt -e '.[bench]' installs it", flush=True)
    return [name for name in PEERS if not name.startswith("litserve")]


def _rounds(setup: Setup, cases: Mapping[str, Case], send: SendLoad) -> tuple[Loads, list[float]]:
    """Every case's load by clients, by round, and p50 of the runner alone."""
    loads: defaultdict[tuple[str, int], list[Load]] = defaultdict(list)
    alone_ms = []
    for number in range(setup.rounds):
        for clients in setup.clients:
            tell(f"{setup.model}: round {number + 1} of {setup.rounds}, {clients} client(s)")
            if clients == setup.clients[0]:
                alone_ms.append(_alone_ms(setup))
            for name in list(cases)[:: -1 if number % 2 else 1]:
                case = cases[name]
                requests = requests_of(case.wire, case.path, setup.inputs)
                with case.turn():
                    load = send(Plan(case.port, requests, clients, setup.turn_s, setup.turn_s / 2))
                loads[name, clients].append(checked(load, case.wire, setup.expected, name))
    return loads, alone_ms


def _alone_ms(setup: Setup) -> float:
    """p50 of `runner.run`, for half as long as a server's turn."""
    until, took = time.perf_counter() + setup.turn_s / 2, []
    while time.perf_counter() < until:
        for x in setup.inputs:
            began = time.perf_counter()
            setup.runner.run({"input": x})
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e3


def _rows(setup: Setup, loads: Loads, alone_ms: list[float]) -> list[list[object]]:
    alone = statistics.median(alone_ms)
    rows: list[list[object]] = [[setup.model, "-", ALONE, 1e3 / alone, alone, "-", "-", "-", "-"]]
    for clients in setup.clients:
        for name in [name for name, of in loads if of == clients]:
            found = loads[name, clients]
            ratio = "-" if name == OURS else str(_ratio(loads, OURS, [name], clients))
            row = [setup.model, clients, name, _median(load.accepted_per_s for load in found)]
            for percent in (50, 99):
                row.append(_median(percentile_ms(load.accepted_ms, percent) for load in found))
            refused = sum(len(load.refused_ms) for load in found)
            rows.append([*row, ratio, refused, f"{_median(load.cpu_share for load in found):.0%}"])
    return rows


def _figures(model: str, loads: Loads, alone_ms: list[float]) -> dict[str, float]:
    suffix = "" if model == "small" else f"_{model}"
    figures = {}
    for clients in sorted({clients for _, clients in loads}):
        for key, ours in (("", OURS), ("_binary", BINARY), ("_single", SINGLE)):
            for peer_key, peers in PEERS_OF.items():
                there = [name for name in peers if (name, clients) in loads]
                if there:
                    ratio = _ratio(loads, ours, there, clients)
                    figures[f"rps_vs_{peer_key}{suffix}{key}_c{clients}"] = round(ratio.median, 3)
    for key, ours in (("", OURS), ("_binary", BINARY)):
        over_ms = [
            percentile_ms(load.accepted_ms, 50) - alone
            for load, alone in zip(loads.get((ours, 1), []), alone_ms, strict=False)
        ]
        if over_ms:
            figures[f"overhead_ms_p50{suffix}{key}_c1"] = round(statistics.median(over_ms), 3)
    return figures


def _ratio(loads: Loads, ours: str, peers: Sequence[str], clients: int) -> Ratio:
    """Requests a second, ours over the best of `peers`, round by round."""
    turns = zip(*(loads[name, clients] for name in peers), strict=True)
    best = [max(load.accepted_per_s for load in turn) for turn in turns]
    mine = [load.accepted_per_s for load in loads[ours, clients]]
    return Timings({"ours": tuple(mine), "theirs": tuple(best)}).ratio("ours", "theirs")


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    run("serving", measure)
