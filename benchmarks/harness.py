"""What every benchmark shares: one table, one JSON line, interleaved timing, peak memory.

A benchmark is a module that ends with

    if __name__ == "__main__":
        run("name", measure)

where `measure(quick)` returns a `Report`. It prints the machine, the table, and as its last line one
JSON object with the report's figures at the top level. What takes long says how far it is (`tell`).
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from edge_s4op.huge_pages import huge_pages_mode, restart_with_huge_pages
from edge_s4op.runtime.onnxruntime_plugin import plugin_fact

__all__ = ["Ratio", "Report", "Timings", "interleave", "machine", "peak_memory_bytes", "run", "table", "tell"]

_VERSIONS_SHOWN = ("edge-s4op", "torch", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Report:
    """What one benchmark found: a table for people and figures for programs."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Ratio:
    """How many times slower one case is than another: median and quartiles of the rounds' ratios."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f}x [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Timings:
    """Seconds each case took, by round: `seconds[case][round]`."""

    seconds: Mapping[str, tuple[float, ...]]

    def median_ms(self, case: str) -> float:
        return statistics.median(self.seconds[case]) * 1e3

    def ratio(self, slower: str, faster: str) -> Ratio:
        """`slower` over `faster`, round by round, so that a slow moment of the machine cancels out."""
        ratios = [a / b for a, b in zip(self.seconds[slower], self.seconds[faster], strict=True)]
        if len(ratios) == 1:
            return Ratio(ratios[0], ratios[0], ratios[0])
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return Ratio(median, low, high)


def run(name: str, measure: Callable[[bool], Report], arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print the machine line, the table and the JSON line.

    All cases run with huge pages where the agent would use them: the process starts itself again.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=measure.__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases and rounds; ends within 60 s")
    quick: bool = parser.parse_args(arguments).quick
    if arguments is None:
        restart_with_huge_pages()
    where = machine()
    facts = ", ".join(f"{key} {value}" for key, value in where.items())
    print(f"# {name}{' --quick' if quick else ''} on {facts}", flush=True)
    report = measure(quick)
    print(table(report.columns, report.rows))
    print(json.dumps({"benchmark": name, "quick": quick, "machine": where, **report.figures}))


def tell(what: str) -> None:
    """Say on stderr what is measured now."""
    print(f"  {what}", file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """What the figures depend on, in words: processor, usable cores, system, versions, date."""
    return {
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "os": f"{platform.system()} {platform.machine()}",
        "huge pages": huge_pages_mode(),
        "python": platform.python_version(),
        **{name: version for name in _VERSIONS_SHOWN if (version := _version(name))},
        "SSMConv in onnxruntime": plugin_fact(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned text: the first column to the left, the others to the right; floats to 4 digits."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def interleave(
    cases: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 2,
    time_limit_s: float | None = None,
    settle_s: float = 0.0,
    lead_in: int = 0,
    calls: int = 1,
) -> Timings:
    """Time the cases round-robin, so that drift of the machine (clock, heat, neighbours) hits all alike.

    Every other round runs backwards: no case always follows the same neighbour. After `time_limit_s`
    the current round is the last.

    `settle_s` is slept before every turn, and not timed. Libraries with thread pools of their own need it:
    a pool spins for a while after its call, on cores that the next case's threads want. After such a pause
    cores sleep and caches are another's: `lead_in` calls, untimed, bring the case back to its steady state.
    A turn's time is the median of `calls` calls in a row.
    """
    for case in cases.values():
        for _ in range(warmup):
            case()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    deadline = time.perf_counter() + (float("inf") if time_limit_s is None else time_limit_s)
    for number in range(rounds):
        for name in list(cases)[:: -1 if number % 2 else 1]:
            time.sleep(settle_s)
            for _ in range(lead_in):
                cases[name]()
            seconds[name].append(statistics.median(_timed(cases[name]) for _ in range(calls)))
        if time.perf_counter() > deadline:
            break
    return Timings({name: tuple(values) for name, values in seconds.items()})


def _timed(case: Callable[[], object]) -> float:
    start = time.perf_counter()
    case()
    return time.perf_counter() - start


def peak_memory_bytes(prepare: Callable[[], Callable[[], object]]) -> int:
    """Most resident memory that the callable made by `prepare` needs above what stood before its call.

    Runs in a fresh process: after a fork, torch refuses to run backward and OpenMP may hang, and memory
    freed earlier would be reused unseen. So `prepare` must be picklable: a module's function, or a
    functools.partial of one. Needs Linux. Raises RuntimeError when the process fails.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_peak, args=(sender, prepare))
    process.start()
    sender.close()
    try:
        peak: int = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the measured process failed with exit code {process.exitcode}") from None
    process.join()
    return peak


def _send_peak(sender: Connection, prepare: Callable[[], Callable[[], object]]) -> None:
    call = prepare()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from the present VmRSS
    before = _status_bytes("VmRSS")
    call()
    sender.send(_status_bytes("VmHWM") - before)


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
