"""The example in docs/python-api.md runs as it stands there, against an agent on a port of this test's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from host.compress import current_plan
from tests.device_agent.agent_helpers import agent_process
from tests.project import ROOT

ADDRESS = "http://127.0.0.1:8600"


def example() -> str:
    (code,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/python-api.md").read_text(), re.MULTILINE | re.DOTALL
    )
    return str(code)


def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = example()
    assert code.count(ADDRESS) == 1
    names: dict[str, Any] = {"__name__": "example"}
    with agent_process(tmp_path / "agent") as agent:
        exec(compile(code.replace(ADDRESS, agent.url), "docs/python-api.md", "exec"), names)
    made = names["made"]
    assert names["plan"].ratio == 0.5
    assert names["tuning"].best_metric >= names["tuning"].metric_before
    assert current_plan(names["small"]) == names["plan"]
    assert current_plan(made.model) == made.plan
    assert made.measurement.latency_ms.median_interval.high <= 2.0
    assert made.artifact.sha256 in capsys.readouterr().out
