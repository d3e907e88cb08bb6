"""What a layer takes on the device, learned from measurements: latency against kept operators."""

from host.latency.model import CurvePoint, LatencyModel, LayerCurve, Observation

__all__ = ["CurvePoint", "LatencyModel", "LayerCurve", "Observation"]
