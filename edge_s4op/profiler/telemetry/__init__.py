"""What the board does while it measures: sensors, what they show to be wrong, and cooling down."""

from __future__ import annotations

from edge_s4op.profiler.telemetry.board import Board, find_board
from edge_s4op.profiler.telemetry.cooldown import cool_down
from edge_s4op.profiler.telemetry.recorder import TelemetryRecorder
from edge_s4op.profiler.telemetry.sensors import Sensor

__all__ = ["Board", "Sensor", "TelemetryRecorder", "cool_down", "find_board"]
