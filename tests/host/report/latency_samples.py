"""A made-up family with all that a search for budgets adds: figures invented, nothing was measured."""

from __future__ import annotations

from edge_s4op.messages import Interval, MeasurementSettings
from host.family import Family, Latency, Trial
from host.latency.model import CurvePoint, LatencyModel, LayerCurve, Observation
from tests.host.report.report_samples import (
    CHANNELS,
    DEVICE,
    LAYERS,
    RATES,
    candidates,
    family,
    latency,
    trial,
    unpruned,
)

CLIFF, DISTURBED = 16, 28
GRID = (1, 4, 8, 12, CLIFF, CLIFF + 1, 20, 24, DISTURBED, CHANNELS)
BASE_MS, SCALE = 0.2, 1.05
OTHER_DEVICE = DEVICE.model_copy(
    update={"board": "Orin Nano (invented)", "cpu": "Synthetic ARM", "gpu": "8 SMs", "fingerprint": "e" * 64}
)
BUDGETS = {  # ms: kept per layer, validation accuracy, p50, prediction
    1.9: ((32, 32, 25, 10), 0.9725, 1.88, 1.85),
    1.3: ((32, 16, 6, 1), 0.9675, 1.27, 1.31),
    0.8: ((9, 2, 1, 1), 0.8125, 0.79, 0.77),
}


def curve(**changes: object) -> LayerCurve:
    known = {"num_channels": CHANNELS, "d_state": 64, "seq_len": 150, "kind": "s4d", "points": points()}
    return LayerCurve(**{**known, "cliffs": (CLIFF,), **changes})


def points() -> tuple[CurvePoint, ...]:
    return tuple(_point(kept) for kept in GRID)


def latency_model(**changes: object) -> LatencyModel:
    """Layer 0, which follows the encoder, has a curve of its own."""
    flat = curve(points=tuple(_point(kept) for kept in GRID if kept <= CLIFF or kept == CHANNELS), cliffs=())
    known = {
        "device_fingerprint": DEVICE.fingerprint,
        "settings": MeasurementSettings(backend="onnxruntime"),
        "layers": ("first", *["rest"] * (LAYERS - 1)),
        "curves": {"first": flat, "rest": curve()},
        "observations": (
            Observation(kept_counts=(CHANNELS,) * LAYERS, p50_ms=2.4),
            *(Observation(kept_counts=kept, p50_ms=p50) for kept, _, p50, _ in BUDGETS.values()),
        ),
        "base_ms": BASE_MS,
        "scale": SCALE,
    }
    return LatencyModel(**{**known, **changes})


def budget_trial(asked_ms: float, **changes: object) -> Trial:
    """The model kept for a budget; its `rate` is what the budget came to."""
    kept, validation, p50_ms, predicted_ms = BUDGETS[asked_ms]
    known = {
        "stage": f"budget-{asked_ms:g}ms",
        "budget_ms": asked_ms,
        "predicted_ms": predicted_ms,
        "latency": _with_energy(latency(p50_ms)),
        "other_latencies": (other_latency(3 * p50_ms),),
        "test_accuracy": validation - 0.004,
        "kept": True,
        "model": f"budget-{asked_ms:g}ms",
    }
    rate = 1 - sum(kept) / (LAYERS * CHANNELS)
    return trial(rate, 7, kept, validation, **{**known, **changes})


def other_latency(p50_ms: float) -> Latency:
    return latency(p50_ms).model_copy(
        update={"device_fingerprint": OTHER_DEVICE.fingerprint, "energy_mj": 4.2 * p50_ms}
    )


def budget_family(**changes: object) -> Family:
    """Rates and budgets on two devices, the smaller budgets with fewer residual channels and states."""
    rates = [each for rate in RATES for each in candidates(rate)]
    trials = [
        *(_on_both(each) for each in (unpruned(), *rates)),
        budget_trial(1.9),
        budget_trial(1.3, states=(64, 64, 32, 16)),
        budget_trial(0.8, features=tuple(range(20)), states=(32, 16, 16, 16)),
    ]
    known = {"other_devices": (OTHER_DEVICE,), "latency_models": (latency_model(),)}
    return family(*trials, **{**known, **changes})


def _on_both(each: Trial) -> Trial:
    if each.latency is None:
        return each
    other = other_latency(3 * each.latency.p50_ms)
    return each.model_copy(update={"latency": _with_energy(each.latency), "other_latencies": (other,)})


def _with_energy(taken: Latency) -> Latency:
    return taken.model_copy(update={"energy_mj": 2.5 * taken.p50_ms})


def _point(kept: int) -> CurvePoint:
    p50_ms = 0.12 + 0.008 * kept + (0.09 if kept > CLIFF else 0.0) + (0.05 if kept == DISTURBED else 0.0)
    width = 0.14 if kept == DISTURBED else 0.02
    bounds = Interval(low=(1 - width) * p50_ms, high=(1 + width) * p50_ms)
    return CurvePoint(kept=kept, p50_ms=p50_ms, p50_interval_ms=bounds, disturbed=kept == DISTURBED)
