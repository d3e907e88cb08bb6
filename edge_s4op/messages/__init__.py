"""What travels between host and agent under `/v1`, as frozen pydantic models.

Times are milliseconds, sizes are bytes; the unit stands in the name.
"""

from __future__ import annotations

from edge_s4op.messages.base import MODEL_NAME_PATTERN, SHA256_PATTERN, Interval
from edge_s4op.messages.certificate import Certificate, CertifiedArtifact
from edge_s4op.messages.device import ArtifactInfo, DeviceFacts
from edge_s4op.messages.family import (
    FamilyPin,
    FamilyRequest,
    FamilySwitch,
    FamilyVariant,
    LatencyObjective,
    ServedFamily,
    SwitchingPolicy,
    VariantState,
)
from edge_s4op.messages.latency import Energy, EngineInfo, LatencyStatistics, Parts, PartStatistics
from edge_s4op.messages.measurement import (
    Job,
    JobState,
    MeasurementRequest,
    MeasurementResult,
    MeasurementSettings,
    Samples,
)
from edge_s4op.messages.profile import (
    Comparison,
    Deadline,
    Disturbance,
    DisturbanceKind,
    Drift,
    Layers,
    LayerTime,
    Memory,
    Mode,
    NotableSample,
    Outliers,
    RebuildVariance,
    SensorSummary,
    Stability,
    Telemetry,
    Verdict,
)
from edge_s4op.messages.serving import RepositoryEntry, ServedModel, ServeOptions, ServeRequest
from edge_s4op.messages.stream import StreamInfo

__all__ = [
    "MODEL_NAME_PATTERN",
    "SHA256_PATTERN",
    "ArtifactInfo",
    "Certificate",
    "CertifiedArtifact",
    "Comparison",
    "Deadline",
    "DeviceFacts",
    "Disturbance",
    "DisturbanceKind",
    "Drift",
    "Energy",
    "EngineInfo",
    "FamilyPin",
    "FamilyRequest",
    "FamilySwitch",
    "FamilyVariant",
    "Interval",
    "Job",
    "JobState",
    "LatencyObjective",
    "LatencyStatistics",
    "LayerTime",
    "Layers",
    "MeasurementRequest",
    "MeasurementResult",
    "MeasurementSettings",
    "Memory",
    "Mode",
    "NotableSample",
    "Outliers",
    "PartStatistics",
    "Parts",
    "RebuildVariance",
    "RepositoryEntry",
    "Samples",
    "SensorSummary",
    "ServeOptions",
    "ServeRequest",
    "ServedFamily",
    "ServedModel",
    "Stability",
    "StreamInfo",
    "SwitchingPolicy",
    "Telemetry",
    "VariantState",
    "Verdict",
]
