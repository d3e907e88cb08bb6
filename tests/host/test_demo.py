"""The demo: everything it promises is there at the end, and no process is left, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import host.demo
from host.cli.main import run
from host.family import read_family
from tests.device_agent.agent_helpers import REPOSITORY
from tests.host.cli.cli_samples import Capture, fail, save_npz

SMALL_DEMO = """
import host.demo
from host.cli.main import main
host.demo.MODEL = {model}
host.demo.MEASUREMENT = host.demo.MEASUREMENT.model_copy(update={quick})
main()
"""
MODEL = {"kind": "s4d", "d_model": 4, "d_state": 4, "depth": 2}
QUICK = {
    "warmup_ms": 0,
    "max_warmup_ms": 0,
    "cooldown_max_ms": 0,
    "min_duration_ms": 0,
    "max_duration_ms": 30,
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's own course with a smaller model, fewer epochs and short measurements."""
    monkeypatch.delenv("S4OP_AGENT", raising=False)
    monkeypatch.setattr(host.demo, "MODEL", MODEL)
    monkeypatch.setattr(host.demo, "TRAINING", host.demo.TRAINING.model_copy(update={"epochs": 2}))
    monkeypatch.setattr(host.demo, "RATES", (0.5,))
    monkeypatch.setattr(host.demo, "MEASUREMENT", host.demo.MEASUREMENT.model_copy(update=QUICK))


@pytest.fixture
def spec(tmp_path: Path) -> str:
    return save_npz(tmp_path / "sines.npz")


def test_the_demo_leaves_a_family_a_report_and_no_process(capsys: Capture, tmp_path: Path, spec: str) -> None:
    out = tmp_path / "demo"
    assert run(["demo", "--dataset", spec, "--out", str(out), "--latency-budget-ms", "1000", "--json"]) == 0
    said, log = capsys.readouterr()
    shown = json.loads(said)
    assert said.count("\n") == 1
    assert shown["served"]["accuracy_http"] == shown["served"]["accuracy_offline"]
    assert shown["served"]["name"] == "sines"
    assert [model["rate"] for model in shown["models"]] == [0.0, 0.5]
    assert shown["chosen"] in read_family(out / "search").models
    assert (out / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "Served over HTTP" in (out / "report.html").read_text()
    assert log.splitlines()[0].endswith("20 training, 12 validation, 8 test sequences")
    assert log.splitlines()[1].startswith("agent on http://127.0.0.1:")
    assert _processes_of(out) == []

    code, line = fail(capsys, "demo", "--dataset", spec, "--out", out)
    assert code == 2
    assert "holds an earlier demo" in line
    code, line = fail(capsys, "demo", "--dataset", "ucr:GunPoin", "--out", out, "--overwrite")
    assert "did you mean GunPoint" in line
    assert read_family(out / "search")  # bad use costs nothing that was there


def test_a_budget_below_all_still_leaves_the_report(capsys: Capture, tmp_path: Path, spec: str) -> None:
    out = tmp_path / "demo"
    code = run(["demo", "--dataset", spec, "--out", str(out), "--latency-budget-ms", "1e-7"])
    said, log = capsys.readouterr()
    assert code == 1
    assert "the smallest reached" in log.splitlines()[-1]
    assert "Pruned" in said
    assert "</html>" in (out / "report.html").read_text()
    assert _processes_of(out) == []


@pytest.mark.parametrize(
    ("number", "after"),
    [(signal.SIGINT, "unpruned:"), (signal.SIGTERM, "agent on")],
    ids=["ctrl-c-in-the-search", "terminated-in-training"],
)
def test_stopping_the_demo_stops_its_agent(
    tmp_path: Path, spec: str, number: signal.Signals, after: str
) -> None:
    out, script = tmp_path / "demo", SMALL_DEMO.format(model=MODEL, quick=QUICK)
    with subprocess.Popen(
        [sys.executable, "-c", script, "demo", "--dataset", spec, "--out", str(out)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        timer = threading.Timer(60, demo.kill)
        timer.start()
        seen = _read_until(demo, after)
        assert _processes_of(out / "agent"), seen
        demo.send_signal(number)
        rest = demo.stderr.read()
        timer.cancel()
    assert demo.returncode == 130, seen + rest
    assert rest.splitlines()[-1] == "s4op: interrupted"
    assert "Traceback" not in rest
    assert _processes_of(out) == []


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    """What the process says on stderr, up to and with the line that holds `text`."""
    seen = ""
    for line in process.stderr:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"the demo ended before it said {text!r}: {seen}")


def _processes_of(folder: Path) -> list[str]:
    """Command lines of running processes that name `folder`, other than this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command and int(entry.name) != os.getpid():
            found.append(command)
    return found
