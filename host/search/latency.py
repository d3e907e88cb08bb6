"""What a search learns of its devices: curves of its layers, and latency models of the shapes it tries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from edge_s4op.artifact import Artifact
from edge_s4op.errors import MeasurementError
from host.latency.learn import learn_curve
from host.latency.model import CurvePoint, LatencyModel, LayerCurve, Observation
from host.latency.probe import LayerShape, probe_artifact
from host.latency.store import load_latency_model, read_latency_models, save_latency_model
from host.measuring import Measurement, MeasurementKey
from host.models.checkpoint import load_checkpoint
from host.models.classifier import Classifier
from host.models.config import ModelConfig
from host.remeasuring import remeasured
from host.search.context import Search
from host.search.fleet import Kind
from host.search.measuring import known_measurement, measure_models
from host.search.progress import SearchProgress
from host.search.shapes import Shape

__all__ = ["LatencyBook", "known_models"]


def known_models(search: Search) -> tuple[LatencyModel, ...]:
    """Every latency model that the search has learned so far."""
    return read_latency_models(search.folder.latency)


class LatencyBook:
    """Latency models by device and shape, learned when first asked for and kept in the search's folder."""

    def __init__(self, search: Search, at: SearchProgress) -> None:
        self._search, self._at = search, at
        model, _ = load_checkpoint(search.checkpoint_dir)
        self._config = model.config

    def model(self, kind: Kind, shape: Shape) -> LatencyModel:
        """What `shape` takes on devices of `kind`. Raises MeasurementError when it cannot be learned."""
        layers = self._layers(shape)
        folder, key = self._search.folder.latency, self._key(shape)
        known = load_latency_model(
            folder, kind.device.fingerprint, kind.settings, [layer.name for layer in layers], key
        )
        if known is not None:
            return known
        learned = self._learn(kind, shape, layers)
        save_latency_model(folder, learned, key)
        return learned

    def learn(self, shapes: Sequence[Shape]) -> None:
        """All models of these shapes; several agents learn side by side. Raises as `model` does."""
        kinds = self._search.fleet.kinds
        jobs = [partial(self.model, kind, shape) for shape in shapes for kind in kinds]
        self._search.fleet.run(jobs)

    def correct(self, kind: Kind, shape: Shape, kept_counts: tuple[int, ...], p50_ms: float) -> None:
        """Let an end-to-end measurement correct the model of `shape`."""
        corrected = self.model(kind, shape).corrected(kept_counts, p50_ms)
        save_latency_model(self._search.folder.latency, corrected, self._key(shape))

    def _learn(self, kind: Kind, shape: Shape, layers: list[LayerShape]) -> LatencyModel:
        curves = {layer.name: self._curve(kind, layer) for layer in dict.fromkeys(layers)}
        whole = Classifier(_whole(self._config, shape)).eval()
        at = replace(self._at, phase="export")
        (measured,) = measure_models(self._search, [(whole, at)])
        measurement = measured[self._search.fleet.kinds.index(kind)]
        if measurement.result is None:
            raise MeasurementError(
                f"a model of {shape.width} channels could not be measured: {measurement.error}",
                fix="repair the device's measurements and resume",
            )
        seen = Observation(
            kept_counts=(shape.width,) * len(layers), p50_ms=measurement.result.latency_ms.median
        )
        names = [layer.name for layer in layers]
        return LatencyModel.fitted(kind.device.fingerprint, kind.settings, names, curves, [seen])

    def _curve(self, kind: Kind, layer: LayerShape) -> LayerCurve:
        for model in known_models(self._search):
            same = (model.device_fingerprint, model.settings) == (kind.device.fingerprint, kind.settings)
            if same and layer.name in model.curves:
                return model.curves[layer.name]
        return learn_curve(layer, lambda kept, fresh: self._point(kind, layer, kept, fresh))

    def _point(self, kind: Kind, layer: LayerShape, kept: int, fresh: bool) -> CurvePoint | None:
        search = self._search
        what = f"a layer that keeps {kept} of {layer.num_channels}"
        search.report(self._at, phase="learn", stage=what)
        key = MeasurementKey(
            shape={"layer": layer.name},
            kept_counts=(kept,),
            device_fingerprint=kind.device.fingerprint,
            settings=kind.settings,
        )
        measurement = None if fresh else known_measurement(search, key)
        if measurement is None:
            measurement = self._taken(kind, probe_artifact(layer, kept), what)
            search.cache.put(key, measurement)
        if measurement.result is None:
            search.report(self._at, phase="learn", error=measurement.error)
            return None
        latency = measurement.result.latency_ms
        return CurvePoint(kept=kept, p50_ms=latency.median, p50_interval_ms=latency.median_interval)

    def _taken(self, kind: Kind, probe: Artifact, what: str) -> Measurement:
        """Measured, and again while disturbed; what the anchor of a curve shows is asked by `learn_curve`."""
        return remeasured(
            lambda: kind.measure(probe, self._search.fleet.patience),
            self._search.options.remeasure,
            lambda reasons: self._search.report(
                self._at, phase="learn", stage=f"{what}: measuring again: {reasons}"
            ),
        )

    def _layers(self, shape: Shape) -> list[LayerShape]:
        config = self._config
        return [LayerShape(config.kind, shape.width, states, config.seq_len) for states in shape.states]

    def _key(self, shape: Shape) -> list[object]:
        """What beside its layers decides the latency of a model: how the rest of it is built."""
        config = _whole(self._config, shape)
        shown = config.model_dump(mode="json", exclude={"kept", "features", "dropout", "dt_min", "dt_max"})
        return sorted(shown.items())


def _whole(config: ModelConfig, shape: Shape) -> ModelConfig:
    """The model of that shape that keeps all its operators."""
    cut: dict[str, object] = {"kept": None, "states": None}
    if shape.states != (config.d_state,) * config.depth:
        cut["states"] = shape.states
    if shape.width < config.d_model:
        features = tuple(range(shape.width))
        cut |= {"features": features, "d_model": shape.width, "full_d_model": config.d_model}
    return ModelConfig.model_validate(config.model_dump() | cut)
