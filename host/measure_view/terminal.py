"""A measurement as it is printed: warnings first, then figures, bars and sentences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from rich.console import RenderableType
from rich.text import Text

from edge_s4op.messages import DeviceFacts, MeasurementResult
from host.measure_view import tables, words

__all__ = ["shown"]

_ALARM = "bold yellow"


def shown(
    measured: MeasurementResult,
    samples_ms: npt.NDArray[np.float64],
    facts: DeviceFacts | None = None,
    baseline: str = "the baseline",
) -> Iterator[RenderableType]:
    """Everything a measurement says, piece by piece; `baseline` is what it was compared with is called."""
    yield from _disturbed(measured)
    yield tables.latency_table(measured)
    if measured.parts is not None:
        yield from ("", tables.parts_table(measured.parts))
    yield from ("", words.sampling_words(measured), words.mode_words(measured, facts))
    yield from _answers(measured, baseline)
    if samples_ms.size:
        stability = measured.stability
        yield from ("", tables.histogram(samples_ms, stability.outliers.above_ms if stability else None))
    yield from _layers(measured)
    yield from _steadiness(measured)
    yield from _resources(measured)
    yield words.comparability_words(measured)


def _disturbed(measured: MeasurementResult) -> Iterator[RenderableType]:
    if measured.disturbed:
        yield Text(
            "DISTURBED: something beside the model changed these latencies. Measure again.", style=_ALARM
        )
        for disturbance in measured.disturbed:
            yield Text(f"  {disturbance.kind}: {disturbance.what}", style=_ALARM)
        yield ""


def _answers(measured: MeasurementResult, baseline: str) -> Iterator[RenderableType]:
    """What was asked beside the latency."""
    if measured.comparison is not None:
        sentence = words.comparison_words(measured, measured.comparison, baseline)
        yield Text(sentence, style="bold")
    if measured.deadline is not None:
        yield from words.deadline_lines(measured.deadline, measured.iterations)
    if measured.rebuilds is not None:
        yield words.rebuild_words(measured.rebuilds)


def _layers(measured: MeasurementResult) -> Iterator[RenderableType]:
    layers = measured.layers
    if layers is not None:
        yield from ("", tables.layer_table(layers))
        yield f"layers: {layers.source}, {layers.runs} runs of their own, {layers.total_ms:.4f} ms in all"
    elif measured.request.layers:
        yield from ("", "no time per layer: the backend tells none")


def _steadiness(measured: MeasurementResult) -> Iterator[RenderableType]:
    yield ""
    if measured.stability is not None:
        for line, alarm in words.stability_lines(measured.stability):
            yield Text(line, style=_ALARM if alarm else "")


def _resources(measured: MeasurementResult) -> Iterator[RenderableType]:
    if measured.telemetry is not None and measured.telemetry.sensors:
        telemetry = measured.telemetry
        yield from ("", tables.sensor_table(telemetry))
        yield f"{telemetry.readings} readings of the board, every {telemetry.period_ms:.0f} ms"
    if measured.memory is not None:
        yield words.memory_words(measured.memory)
    if measured.energy is not None:
        yield words.energy_words(measured.energy)
    if measured.engine is not None:
        yield words.engine_words(measured.engine)
