"""The example in docs/python-api.md runs; changed are the agent's port and how long a measurement lasts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from host.compress import current_plan
from tests.device_agent.agent_helpers import agent_process
from tests.host.compress.compress_samples import QUICK
from tests.project import ROOT

CHANGED = {  # what stands there once, by what runs instead
    "http://127.0.0.1:8600": "{url}",
    "measure(artifact, agent)": "measure(artifact, agent, QUICK)",
    "agent=agent,": "agent=agent, settings=QUICK,",
}


def example() -> str:
    (code,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/python-api.md").read_text(), re.MULTILINE | re.DOTALL
    )
    return str(code)


def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = example()
    names: dict[str, Any] = {"__name__": "example", "QUICK": QUICK}
    with agent_process(tmp_path / "agent") as agent:
        for printed, run in CHANGED.items():
            assert code.count(printed) == 1
            code = code.replace(printed, run.format(url=agent.url))
        exec(compile(code, "docs/python-api.md", "exec"), names)
    made = names["made"]
    assert names["plan"].ratio == 0.5
    assert names["tuning"].best_metric >= names["tuning"].metric_before
    assert current_plan(names["small"]) == names["plan"]
    assert current_plan(made.model) == made.plan
    assert made.measurement.latency_ms.median_interval.high <= 2.0
    assert made.artifact.sha256 in capsys.readouterr().out
