"""One picture of a measurement: its histogram, its samples in order, its layers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from edge_s4op.files import write_bytes
from edge_s4op.messages import Layers, MeasurementResult
from host.measure_view.bins import bins_of

__all__ = ["picture_png", "write_picture"]

Samples = npt.NDArray[np.float64]

_BLUE, _ORANGE, _GREY = "#2a78b5", "#d1661f", "#6b6b6b"
_DPI = 120
_MOST_POINTS = 20_000  # more cannot be told apart, and drawing them takes seconds


def write_picture(measured: MeasurementResult, samples_ms: Samples, path: Path, title: str) -> None:
    """Write `picture_png` to `path`, all or nothing. Raises StorageError."""
    write_bytes(path, picture_png(measured, samples_ms, title))


def picture_png(measured: MeasurementResult, samples_ms: Samples, title: str) -> bytes:
    """The PNG's bytes; layers have a part of it where they were measured."""
    layers = measured.layers if measured.layers and measured.layers.layers else None
    height = 6.4 + (0 if layers is None else 0.9 + 0.26 * len(layers.layers))
    figure = Figure(figsize=(9, height), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [3.0, 3.0] if layers is None else [3.0, 3.0, 0.6 + 0.26 * len(layers.layers)]
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_histogram(axes[0], measured, samples_ms)
    _draw_samples(axes[1], measured, samples_ms)
    if layers is not None:
        _draw_layers(axes[2], layers)
    figure.suptitle(_heading(measured, title), parse_math=False, fontsize=11)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    return content.getvalue()


def _heading(measured: MeasurementResult, title: str) -> str:
    request, latency = measured.request, measured.latency_ms
    kinds = ", ".join(dict.fromkeys(disturbance.kind for disturbance in measured.disturbed))
    mark = f"\nDISTURBED: {kinds}" if kinds else ""
    return (
        f"{title}: median {latency.median:.4f} ms ({latency.median_interval.low:.4f} .. "
        f"{latency.median_interval.high:.4f}), p99 {latency.p99:.4f} ms\n{request.backend} "
        f"{measured.backend_version}, batch {request.batch}, {request.threads} thread(s), device "
        f"{measured.device_fingerprint[:12]}{mark}"
    )


def _draw_histogram(axes: Axes, measured: MeasurementResult, samples_ms: Samples) -> None:
    fence_ms = _fence_ms(measured)
    bins = bins_of(samples_ms, fence_ms)
    edges = np.array(bins.edges_ms)
    axes.bar(edges[:-1], bins.counts, np.diff(edges), align="edge", color=_BLUE, edgecolor="white")
    if bins.logarithmic:
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
    axes.axvline(measured.latency_ms.median, color="black", linewidth=1, label="median")
    if bins.outliers:
        label = f"{bins.outliers} outliers above {bins.fence_ms:.4g} ms, not drawn"
        axes.plot([], [], marker=5, linestyle="none", color=_ORANGE, label=label)
    if measured.deadline is not None and measured.deadline.deadline_ms <= 2 * edges[-1] - edges[0]:
        _mark_deadline(axes, measured, axes.axvline)  # one farther off would squash the bins
    axes.set(xlabel=f"latency, ms ({bins.scale} bins)", ylabel="samples")
    axes.legend(loc="upper right", fontsize=8, framealpha=0.9)


def _draw_samples(axes: Axes, measured: MeasurementResult, samples_ms: Samples) -> None:
    order, fence_ms = np.arange(len(samples_ms)), _fence_ms(measured)
    outlying = np.zeros(len(samples_ms), bool) if fence_ms is None else samples_ms > fence_ms
    step = max(1, len(samples_ms) // _MOST_POINTS)
    inner = np.flatnonzero(~outlying)[::step]
    axes.plot(order[inner], samples_ms[inner], ".", markersize=2, color=_BLUE, label="samples")
    if outlying.any():
        axes.plot(order[outlying], samples_ms[outlying], "x", color=_ORANGE, markersize=5, label="outliers")
    if samples_ms.min() > 0 and samples_ms.max() > 5 * np.median(samples_ms):
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
    _mark_deadline(axes, measured, axes.axhline)
    axes.set(xlabel="sample, in the order taken", ylabel="latency, ms")
    axes.legend(loc="upper right", fontsize=8, framealpha=0.9)


def _plain_ticks(axis: Axis) -> None:
    """Numbers as people write them on a logarithmic axis, also where it spans less than a decade."""
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _mark_deadline(axes: Axes, measured: MeasurementResult, line: object) -> None:
    deadline = measured.deadline
    if deadline is not None and callable(line):
        label = f"deadline {deadline.deadline_ms:g} ms"
        line(deadline.deadline_ms, color=_GREY, linestyle="--", linewidth=1, label=label)


def _draw_layers(axes: Axes, layers: Layers) -> None:
    names = [layer.name for layer in layers.layers]
    times = [layer.median_ms for layer in layers.layers]
    bars = axes.barh(range(len(names)), times, color=_BLUE)
    shares = [f"{100 * layer.share:.1f} %" for layer in layers.layers]
    axes.bar_label(bars, shares, padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel=f"median ms by {layers.source}, slower than unprofiled runs")


def _fence_ms(measured: MeasurementResult) -> float | None:
    return None if measured.stability is None else measured.stability.outliers.above_ms
