"""The tables of a measurement: latency and its parts, the histogram, layers, sensors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from rich import box
from rich.table import Table
from rich.text import Text

from edge_s4op.messages import Interval, Layers, MeasurementResult, Parts, Telemetry
from host.measure_view.bars import Bar
from host.measure_view.bins import Bins, bins_of
from host.measure_view.figures import ms, ms_range, percent

__all__ = ["histogram", "latency_table", "layer_table", "parts_table", "sensor_table"]

_MOST_OPERATORS = 3  # named beside a layer


def latency_table(measured: MeasurementResult) -> Table:
    """The statistics, those with an interval with theirs."""
    latency = measured.latency_ms
    table = _table("latency", "ms", f"{100 * measured.request.confidence:g} % interval")
    rows: list[tuple[str, float | None, Interval | None]] = [
        ("minimum", latency.minimum, None),
        ("mean", latency.mean, None),
        ("median", latency.median, latency.median_interval),
        ("p90", latency.p90, None),
        ("p95", latency.p95, latency.p95_interval),
        ("p99", latency.p99, None),
        ("p99.9", latency.p99_9, None),
        ("maximum", latency.maximum, None),
    ]
    for name, value, interval in rows:
        if value is not None:
            table.add_row(name, ms(value), "" if interval is None else ms_range(interval))
    return table


def parts_table(parts: Parts) -> Table:
    """Where the latency went, in trtexec's words."""
    table = _table("part", "median ms", "p95 ms")
    named = {
        "H2D": parts.h2d_ms,
        "GPU compute": parts.compute_ms,
        "D2H": parts.d2h_ms,
        "enqueue (beside them)": parts.enqueue_ms,
    }
    for name, part in named.items():
        table.add_row(name, ms(part.median), ms(part.p95))
    return table


def histogram(samples_ms: npt.NDArray[np.float64], fence_ms: float | None) -> Table:
    """One bar per bin, all outliers in one more that says so."""
    bins = bins_of(samples_ms, fence_ms)
    table = _table(f"ms ({bins.scale} bins)", "samples", "")
    most = max(*bins.counts, bins.outliers, 1)
    decimals = _decimals(bins)
    for low, high, count in zip(bins.edges_ms[:-1], bins.edges_ms[1:], bins.counts, strict=True):
        name = f"{low:.{decimals}f} .. {high:.{decimals}f}"
        table.add_row(name, f"{count:,}", Bar(count / most, style="cyan"))
    if bins.outliers:
        mark = Text(f"above {bins.fence_ms:.{decimals}f}: outliers", style="yellow")
        table.add_row(mark, f"{bins.outliers:,}", Bar(bins.outliers / most, style="yellow"))
    return table


def layer_table(layers: Layers) -> Table:
    """One bar per layer, in the model's order, with its dearest operators."""
    table = _table("layer", "median ms", "share", "", "operators")
    most = max((layer.share for layer in layers.layers), default=0.0) or 1.0
    for layer in layers.layers:
        dearest = [f"{name} {ms(taken)}" for name, taken in list(layer.operators.items())[:_MOST_OPERATORS]]
        more = len(layer.operators) - len(dearest)
        words = ", ".join([*dearest, *([f"{more} more"] if more > 0 else [])])
        bar = Bar(layer.share / most, width=30, style="cyan")
        table.add_row(layer.name, ms(layer.median_ms), percent(layer.share), bar, words)
    return table


def sensor_table(telemetry: Telemetry) -> Table:
    """What each sensor showed while latencies were sampled."""
    table = _table("sensor", "minimum", "mean", "maximum", "unit")
    for sensor in telemetry.sensors:
        figures = (f"{value:.6g}" for value in (sensor.minimum, sensor.mean, sensor.maximum))
        table.add_row(sensor.name, *figures, Text(sensor.unit, justify="left"))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(first, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in others:
        table.add_column(name, justify="right" if name not in ("", "operators") else "left")
    return table


def _decimals(bins: Bins) -> int:
    """So many that neighbouring edges differ."""
    steps = np.diff(bins.edges_ms)
    smallest = float(steps[steps > 0].min()) if (steps > 0).any() else 0.0
    return 4 if smallest <= 0 else int(np.clip(1 - np.floor(np.log10(smallest)), 1, 7))
