"""A made-up measurement with everything a measurement can say; no figure was measured."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from edge_s4op.messages import (
    Comparison,
    Deadline,
    DeviceFacts,
    Disturbance,
    Drift,
    Energy,
    EngineInfo,
    Interval,
    LatencyStatistics,
    Layers,
    LayerTime,
    MeasurementRequest,
    MeasurementResult,
    Memory,
    Mode,
    NotableSample,
    Outliers,
    Parts,
    PartStatistics,
    RebuildVariance,
    SensorSummary,
    Stability,
    Telemetry,
)
from host.measure_view import shown

FENCE_MS = 1.6
SLOWEST = NotableSample(index=17, at_ms=231.4, latency_ms=4.2, board="clock cpu 729 MHz")
FACTS = DeviceFacts(
    board="Orin Nano (invented)",
    cpu="A78AE",
    cores=6,
    governor="schedutil",
    memory_bytes=8 << 30,
    os="Linux",
    clocks={"cpu": "1510 MHz", "gpu": "306 .. 625 MHz"},
    versions={},
    backends=("onnxruntime",),
    fingerprint="f" * 64,
)


def samples(outliers: int = 3) -> np.ndarray:
    """200 latencies about 1 ms, the last of them outliers of 4 ms and more."""
    inner = 1 + 0.05 * np.sin(np.arange(200 - outliers) * 1.7) + 0.01 * np.cos(np.arange(200 - outliers))
    return np.concatenate([inner, 4.0 + 0.1 * np.arange(outliers)])


def interval(low: float, high: float) -> Interval:
    return Interval(low=low, high=high)


def statistics(median_ms: float = 1.0, **changes: object) -> LatencyStatistics:
    shares = {"minimum": 0.9, "maximum": 4.2, "mean": 1.1, "p90": 1.3, "p95": 1.4, "p99": 4.0, "p99_9": 4.2}
    values = {name: share * median_ms for name, share in shares.items()}
    near = interval(0.99 * median_ms, 1.01 * median_ms)
    return LatencyStatistics.model_validate(
        {"median": median_ms, **values, "median_interval": near, "p95_interval": near, **changes}
    )


def stability(**changes: object) -> Stability:
    return Stability.model_validate(
        {
            "stationary": True,
            "warmup_ms": 312.0,
            "drift": None,
            "modes": (Mode(median_ms=1.0, share=1.0),),
            "outliers": Outliers(above_ms=FENCE_MS, count=3, share=0.015, worst=(SLOWEST,)),
            **changes,
        }
    )


UNSTEADY = stability(
    stationary=False,
    drift=Drift(change=0.052, interval=interval(0.031, 0.073)),
    modes=(Mode(median_ms=0.8, share=0.7), Mode(median_ms=1.2, share=0.3)),
)
LAYERS = Layers(
    source="onnxruntime profile",
    runs=20,
    total_ms=1.3,
    layers=(
        LayerTime(name="blocks.0.ssm", median_ms=0.9, share=0.75, operators={"MatMul": 0.6, "Add": 0.3}),
        LayerTime(name="head", median_ms=0.3, share=0.25, operators={"Gemm": 0.3}),
    ),
)
PART = PartStatistics(median=0.25, p95=0.5)
FULL: dict[str, object] = {
    "stability": stability(),
    "layers": LAYERS,
    "parts": Parts(h2d_ms=PART, compute_ms=PART, d2h_ms=PART, enqueue_ms=PART),
    "telemetry": Telemetry(
        period_ms=50.0,
        readings=60,
        sensors=(
            SensorSummary(
                name="temperature gpu", unit="degC", minimum=41, mean=42.5, maximum=44, readings=60
            ),
        ),
    ),
    "energy": Energy(
        source="ina3221:VDD_IN",
        energy_mj=2.5,
        interval=interval(2.4, 2.6),
        total_mj=5.5,
        idle_mw=3000,
        mean_mw=5500,
        samples=58,
    ),
    "memory": Memory(peak_bytes=210 << 20, model_bytes=12 << 20),
    "engine": EngineInfo(
        engine_sha256="a" * 64,
        key="k" * 64,
        plugin=None,
        note=None,
        cuda_graph=True,
        spin_wait=False,
        size_bytes=5 << 20,
    ),
}
DEADLINE = Deadline(
    deadline_ms=1.5,
    misses=3,
    share=0.015,
    share_interval=interval(0.003, 0.043),
    longest_run=2,
    clustered=True,
    p99_9_ms=4.2,
    worst=SLOWEST,
)
REBUILDS = RebuildVariance(medians_ms=(1.0, 1.02), spread=0.02)
DISTURBED = (Disturbance(kind="cpu-load", what="other processes took 40 % of the CPU"),)


def comparison(verdict: str, ratio: float = 0.8) -> Comparison:
    return Comparison.model_validate(
        {
            "baseline_sha256": "b" * 64,
            "verdict": verdict,
            "ratio": ratio,
            "interval": interval(ratio - 0.01, ratio + 0.01),
            "rounds": 40,
            "baseline_latency_ms": statistics(1 / ratio),
            "baseline_samples_sha256": "c" * 64,
        }
    )


def result_of(asked: dict[str, object] | None = None, **changes: object) -> MeasurementResult:
    """A plain measurement of 200 samples; `asked` are settings, `changes` what else it says."""
    settings = {"artifact_sha256": "0" * 64, "backend": "onnxruntime", **(asked or {})}
    return MeasurementResult.model_validate(
        {
            "request": MeasurementRequest.model_validate(settings),
            "device_fingerprint": FACTS.fingerprint,
            "backend_version": "1.23",
            "warmup_iterations": 300,
            "iterations": 200,
            "stopped_by": "precision",
            "latency_ms": statistics(),
            "throughput_per_s": 909.1,
            "samples_sha256": "d" * 64,
            **changes,
        }
    )


def printed(
    measured: MeasurementResult, taken: np.ndarray | None = None, encoding: str = "utf-8", **more: object
) -> str:
    """What the terminal shows of it, 120 columns wide."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=file, width=120, markup=False, highlight=False, emoji=False)
    for piece in shown(measured, samples() if taken is None else taken, FACTS, **more):
        console.print(piece)
    file.flush()
    return raw.getvalue().decode(encoding)
