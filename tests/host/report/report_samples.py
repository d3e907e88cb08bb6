"""A made-up family for the tests of the report: figures invented by formulas, nothing was measured."""

from __future__ import annotations

from edge_s4op.messages import DeviceFacts, Interval
from host.family import Family, Latency, Trial
from host.models.config import ModelConfig
from host.pruning.plan import PrunePlan
from host.pruning.schedules import stage_name
from host.search.options import PruneOptions

LAYERS, CHANNELS = 4, 32
RATES = (0.3, 0.5, 0.7, 0.9)
SEEDS = (7, 42, 123)
KEPT_PER_LAYER = {0.3: (32, 29, 22, 7), 0.5: (32, 23, 8, 1), 0.7: (30, 6, 1, 1), 0.9: (10, 1, 1, 1)}
VALIDATION = {
    0.3: (0.975, 0.9625, 0.9375),
    0.5: (0.9125, 0.9625, 0.95),
    0.7: (0.925, 0.9, 0.9375),
    0.9: (0.7, 0.7875, 0.7375),
}
TEST = {0.0: 0.9667, 0.3: 0.96, 0.5: 0.9533, 0.7: 0.92, 0.9: 0.7533}

DEVICE = DeviceFacts(
    board="PC (invented)",
    cpu="Synthetic CPU 3000",
    cores=4,
    governor="performance",
    memory_bytes=8 << 30,
    os="Linux 6.1",
    versions={"edge-s4op": "0.1.0", "onnxruntime": "1.20.1"},
    backends=("onnxruntime",),
    fingerprint="f" * 64,
)
CONFIG = ModelConfig(kind="s4d", d_input=1, num_classes=2, seq_len=150, d_model=CHANNELS, depth=LAYERS)


def latency(p50_ms: float) -> Latency:
    return Latency(
        p50_ms=p50_ms,
        p95_ms=1.18 * p50_ms,
        p50_interval_ms=Interval(low=0.982 * p50_ms, high=1.02 * p50_ms),
        p95_interval_ms=Interval(low=1.12 * p50_ms, high=1.31 * p50_ms),
        confidence=0.95,
        iterations=412,
        stopped_by="precision",
        backend="onnxruntime",
        backend_version="1.20.1",
        threads=1,
        batch=1,
        device_fingerprint=DEVICE.fingerprint,
        measurement_id="job",
    )


def trial(
    rate: float, seed: int | None, counts: tuple[int, ...], validation: float, **changes: object
) -> Trial:
    operators = sum(counts)
    return Trial(
        **{
            "stage": stage_name(rate),
            "rate": rate,
            "seed": seed,
            "plan": PrunePlan((CHANNELS,) * len(counts), tuple(tuple(range(kept)) for kept in counts)),
            "validation_accuracy": validation,
            "latency": latency(0.62 + 0.0139 * operators),
            "parameters": 8_500 + 164 * operators,
            "macs": 1_300_000 + 21_000 * operators,
            "seconds": 41.5,
            **changes,
        }
    )


def unpruned(**changes: object) -> Trial:
    known = {"kept": True, "model": "keep-1.00", "test_accuracy": TEST[0.0]}
    return trial(0.0, None, (CHANNELS,) * LAYERS, 0.9625, **{**known, **changes})


def candidates(rate: float) -> list[Trial]:
    best = max(VALIDATION[rate])
    return [
        trial(rate, seed, KEPT_PER_LAYER[rate], validation, **(_kept(rate) if validation == best else {}))
        for seed, validation in zip(SEEDS, VALIDATION[rate], strict=True)
    ]


def family(*trials: Trial, **changes: object) -> Family:
    """The family of these trials, or of the unpruned model and three candidates for each of four rates."""
    shown = trials or (unpruned(), *(each for rate in RATES for each in candidates(rate)))
    known = {
        "model_kind": "s4d",
        "dataset": "ucr:Invented",
        "config": CONFIG,
        "options": PruneOptions(rates=RATES, candidates=3).model_dump(mode="json"),
        "device": DEVICE,
        "models": {each.model: f"models/{each.model}" for each in shown if each.model},
        "trials": shown,
    }
    return Family(**{**known, **changes})


def kept_at(sample: Family, rate: float) -> Trial:
    return next(each for each in sample.kept() if each.rate == rate)


def _kept(rate: float) -> dict[str, object]:
    return {"kept": True, "model": f"keep-{1 - rate:.2f}", "test_accuracy": TEST[rate]}
