"""What the board does while models are measured: sensors, cooling down, energy, disturbances."""

from __future__ import annotations

from edge_s4op.profiler.telemetry.board import Board, Counter, Sensor
from edge_s4op.profiler.telemetry.recorder import TelemetryRecorder

__all__ = ["Board", "Counter", "Sensor", "TelemetryRecorder"]
