"""Our agent at three times what it can do: what it accepts stays quick, the rest is refused at once.

S4D, L=150, H=128, depth 4 (`--model wide`; one of `serving.MODELS`), JSON, default settings but for the queue
(`--max-queue`, 16 instead of 64): its length is the longest wait that is accepted, max_queue + 1 inferences.
The phases:

    capacity    16 clients, each sending its next request when it has its answer: requests a second
    80 %        requests at random times (Poisson) of 80 % of that rate: what p99 is without overload
    overload    the same at three times capacity, for `--minutes`, 256 connections
    after       80 % again: the machine may have changed meanwhile, so p99 at 80 % is that of both

Latency counts from when a request was due, on the client, which has to share the cores with the agent.

    p99_ratio          p99 of what is accepted in overload over p99 at 80 %; wanted <= 2
    refused_p99_ms     of the answers 503 (or 429); wanted < 50
    refused_share      of all answers in overload
    memory_growth_mib  slope of the agent's resident memory in overload, times its length; wanted about 0.
                       The first fifth is left out: pools and caches fill up.
Further: capacity_rps, accepted_share_of_capacity, memory_mib (median).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import Report, run, tell
from benchmarks.serving import MODELS, artifact_of, checked, inputs_of
from benchmarks.serving_load import Load, Plan, load_process, percentile_ms
from benchmarks.serving_processes import agent, agent_pid, resident_bytes
from benchmarks.serving_wire import V2_JSON, requests_of
from edge_s4op.huge_pages import restart_with_huge_pages
from edge_s4op.runtime import open_runner

__all__ = ["growth_mib", "memory_watched"]

OVERLOAD, NORMAL = 3.0, 0.8  # times capacity
CLIENTS, CONNECTIONS = 16, 256
QUEUE = 16
MODEL = "wide"
SETTLING = 0.2  # share of the memory readings left out

_OF_EACH = ("p50 ms", "p99 ms")
COLUMNS = ("phase", "seconds", "accepted/s", *_OF_EACH, "refused/s", *_OF_EACH, "client")

Readings = list[tuple[float, float]]  # seconds, MiB


def measure(quick: bool, minutes: float | None = None, max_queue: int = QUEUE, model: str = MODEL) -> Report:
    """Memory, latency of what is accepted, and refusals at three times what the agent can do."""
    overload_s = (minutes * 60) if minutes else 15.0 if quick else 300.0
    normal_s = 5.0 if quick else 30.0
    artifact = artifact_of(model)
    runner = open_runner(artifact, "onnxruntime", threads=1)
    inputs, expected = inputs_of(runner)
    runner.close()
    requests = requests_of(V2_JSON, "/v2/models/m/infer", inputs)
    with tempfile.TemporaryDirectory() as name, load_process() as send:
        folder = Path(name) / "agent"
        with agent(folder, artifact, {"m": {"max_queue": max_queue}}) as port:
            pid = agent_pid(folder)

            def loaded(phase: str, clients: int, seconds: float, rate_per_s: float | None) -> Load:
                tell(f"{phase}: {seconds:g} s")
                plan = Plan(port, requests, clients, seconds, 1.0, rate_per_s, keep_every=200)
                return checked(send(plan), V2_JSON, expected, phase)

            capacity = loaded("capacity", CLIENTS, normal_s, None)
            rate = capacity.accepted_per_s
            normal = loaded("80 %", CONNECTIONS, normal_s, NORMAL * rate)
            with memory_watched(pid) as readings:
                overload = loaded("overload", CONNECTIONS, overload_s, OVERLOAD * rate)
            after = loaded("after", CONNECTIONS, normal_s, NORMAL * rate)
    _check_refusal(overload)
    phases = {"capacity": capacity, "80 %": normal, "overload": overload, "after": after}
    return Report(COLUMNS, [_row(*each) for each in phases.items()], _figures(phases, readings))


@contextmanager
def memory_watched(pid: int, period_s: float = 0.25) -> Iterator[Readings]:
    """Resident memory of a process, read while the block runs."""
    readings: Readings = []
    stop = threading.Event()

    def watch() -> None:
        began = time.monotonic()
        while not stop.wait(period_s):
            readings.append((time.monotonic() - began, resident_bytes(pid) / 2**20))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        stop.set()
        thread.join()


def growth_mib(readings: Sequence[tuple[float, float]]) -> float:
    """How much memory grew: least squares line through (s, MiB) but the first fifth, times the whole time."""
    seconds, mib = np.array(readings[int(SETTLING * len(readings)) :]).T
    slope, _ = np.polyfit(seconds, mib, 1)
    return float(slope * readings[-1][0])


def _check_refusal(overload: Load) -> None:
    """A refusal says when to come back and why, in our form."""
    assert overload.refused is not None, "three times its capacity, and nothing was refused"
    head, _, body = overload.refused.content.partition(b"\r\n\r\n")
    assert b"retry-after:" in head.lower(), f"a refusal without Retry-After: {head!r}"
    assert body.startswith(b'{"error":'), f"a refusal in another form: {body!r}"


def _row(phase: str, load: Load) -> list[object]:
    row: list[object] = [phase, load.elapsed_s]
    for took_ms in (load.accepted_ms, load.refused_ms):
        row += [len(took_ms) / load.elapsed_s]
        row += [percentile_ms(took_ms, percent) if len(took_ms) else "-" for percent in (50, 99)]
    return [*row, f"{load.cpu_share:.0%}"]


def _figures(phases: dict[str, Load], readings: Readings) -> dict[str, float]:
    capacity, overload = phases["capacity"], phases["overload"]
    normal_ms = np.concatenate([phases["80 %"].accepted_ms, phases["after"].accepted_ms])
    refused, accepted = len(overload.refused_ms), len(overload.accepted_ms)
    figures = {
        "memory_growth_mib": growth_mib(readings),
        "p99_ratio": percentile_ms(overload.accepted_ms, 99) / percentile_ms(normal_ms, 99),
        "refused_p99_ms": percentile_ms(overload.refused_ms, 99),
        "refused_share": refused / (refused + accepted),
        "capacity_rps": capacity.accepted_per_s,
        "accepted_share_of_capacity": overload.accepted_per_s / capacity.accepted_per_s,
        "memory_mib": float(np.median([mib for _, mib in readings])),
    }
    return {name: round(value, 3) for name, value in figures.items()}


def _main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", add_help=False)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--max-queue", type=int, default=QUEUE)
    parser.add_argument("--model", choices=MODELS, default=MODEL)
    own, rest = parser.parse_known_args(arguments)
    restart_with_huge_pages()
    described: Callable[[bool], Report] = partial(
        measure, minutes=own.minutes, max_queue=own.max_queue, model=own.model
    )
    described.__doc__ = f"{measure.__doc__} Also: --minutes N, --max-queue N, --model."  # type: ignore[method-assign]
    run("overload", described, rest)


if __name__ == "__main__":
    _main(sys.argv[1:])
