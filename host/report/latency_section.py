"""What the search learned of the devices' latency: a curve per shape of layer, and how well they predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from host.family import Family
from host.latency.model import LatencyModel, LayerCurve
from host.report import text
from host.report.curve_plot import CURVE_NARROW, CURVE_WIDE, curve_png
from host.report.html import Html, element, joined
from host.report.images import responsive
from host.report.latency_tables import cliff_counts, layers_table, observations_table, plans_table
from host.report.names import device_names
from host.report.pareto_style import Layout, Palette

__all__ = ["latency_section"]

_WORDS = (
    "To plan for a budget, the search must know what a model will take before it is measured. So it measured "
    "single layers on the device, with more and fewer operators kept, and adds them up: latency = base + "
    "scale x (sum over the layers of the curve at the layer's kept count). The base is everything that does "
    "not depend on kept operators; base and scale are fitted to the whole models that were measured."
)
_CLIFFS = (
    "A device works in blocks (vector widths, groups of threads), so latency can jump between two "
    "neighbouring counts. Such a jump is a cliff, named by the last count before it: a plan that stops there "
    "keeps the most operators for the time."
)
_POINTS = "Measured points with the interval of their median, straight lines between them."
_DASHED = " Dashed: cliffs, with the last count before the jump."
_HOLLOW = " Hollow and red: measured while the device was not steady, even when repeated."
_SHAPES = (
    "Where residual channels or states may be removed, every width and number of states has a model of its "
    "own; the largest is shown, the others are folded away."
)


def latency_section(family: Family) -> Html:
    """Curves, layers and predictions of every device's latency models; nothing without one."""
    if not family.latency_models:
        return Html()
    by_device: dict[str, list[LatencyModel]] = {}
    for model in sorted(family.latency_models, key=_size, reverse=True):
        by_device.setdefault(model.device_fingerprint, []).append(model)
    words = [_WORDS, _CLIFFS, *([_SHAPES] if len(by_device) < len(family.latency_models) else [])]
    parts = [element("p", each) for each in words]
    for fingerprint, name in _devices(family, by_device).items():
        parts += [element("h3", name)] if len(by_device) > 1 else []
        parts += _device(by_device[fingerprint])
    return joined([*parts, plans_table(family)])


def _size(model: LatencyModel) -> tuple[int, int]:
    curves = [model.curves[name] for name in model.layers]
    return sum(curve.num_channels for curve in curves), sum(curve.d_state for curve in curves)


def _devices(family: Family, by_device: Mapping[str, object]) -> dict[str, str]:
    """Names by fingerprint, in the family's order; devices that it does not name come last."""
    fingerprints = (device.fingerprint for device in (family.device, *family.other_devices))
    named = dict(zip(fingerprints, device_names(family), strict=True))
    known = {fingerprint: name for fingerprint, name in named.items() if fingerprint in by_device}
    return known | {each: f"device {each[:8]}" for each in by_device if each not in known}


def _device(models: Sequence[LatencyModel]) -> list[Html]:
    """The largest model in the open, the others folded; a curve is drawn where it is first used."""
    numbers: dict[str, int] = {}
    parts = []
    for model in models:
        content = _model(model, numbers)
        parts += [element("details", element("summary", _shape(model)), *content)] if parts else content
    return parts


def _model(model: LatencyModel, numbers: dict[str, int]) -> list[Html]:
    figures = []
    for name in dict.fromkeys(model.layers):
        if name not in numbers:
            numbers[name] = len(numbers) + 1
            figures.append(_figure(model, numbers[name], name))
    return [*figures, layers_table(model, numbers), observations_table(model)]


def _figure(model: LatencyModel, number: int, name: str) -> Html:
    curve = model.curves[name]
    title = f"Curve {number}: {_layer_list([i for i, used in enumerate(model.layers) if used == name])}"
    disturbed = any(point.disturbed for point in curve.points)
    marks = f"{_DASHED if curve.cliffs else ''}{_HOLLOW if disturbed else ''}"
    caption = f"{_layer(curve)}. {_POINTS}{marks}"

    def png(palette: Palette, layout: Layout) -> bytes:
        return curve_png(curve, title, palette, layout)

    return responsive(png, CURVE_WIDE, CURVE_NARROW, f"{title}: {_layer(curve)}. {_points(curve)}", caption)


def _layer_list(layers: Sequence[int]) -> str:
    if len(layers) > 2 and layers[-1] - layers[0] == len(layers) - 1:
        return f"layers {layers[0]} to {layers[-1]}"
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"


def _layer(curve: LayerCurve) -> str:
    return (
        f"{curve.kind.upper()} layer of {curve.num_channels} channels, {curve.d_state} states, "
        f"{text.count(curve.seq_len)} samples"
    )


def _shape(model: LatencyModel) -> str:
    """ "Models of 32 channels and 16 to 64 states"."""
    curves = [model.curves[name] for name in model.layers]
    channels, states = ({curve.num_channels for curve in curves}, {curve.d_state for curve in curves})
    return f"Models of {_range(channels)} channels and {_range(states)} states"


def _range(values: set[int]) -> str:
    return str(*values) if len(values) == 1 else f"{min(values)} to {max(values)}"


def _points(curve: LayerCurve) -> str:
    """The curve in words, for those who cannot see it."""
    points = "; ".join(
        f"{point.kept}: {text.milliseconds(point.p50_ms)} ms{' (disturbed)' if point.disturbed else ''}"
        for point in curve.points
    )
    return f"Kept operators and p50: {points}. Cliffs after: {cliff_counts(curve)}."
