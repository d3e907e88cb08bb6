"""What the tests of AgentClient send."""

from __future__ import annotations

from edge_s4op.messages import MeasurementRequest
from tests.device_agent import agent_requests
from tests.device_agent.agent_helpers import scaling_artifact

ARTIFACT = scaling_artifact(2.0)
QUICK = MeasurementRequest(artifact_sha256=ARTIFACT.sha256, **agent_requests.QUICK)
