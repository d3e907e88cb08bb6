"""Whatever a child does to itself, the parent gets a result or a BuildError with its reason, and lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from edge_s4op.errors import BuildError
from edge_s4op.runtime.tensorrt.child import Limits, run_child
from edge_s4op.runtime.tensorrt.memory import Memory

MIB = 1 << 20
ENOUGH = Limits(60)
REPORT = "from edge_s4op.runtime.tensorrt.report import Report, be_expendable\nreport = Report()\n"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", REPORT + textwrap.dedent(code)]


def failure(code: str, limits: Limits = ENOUGH, **callbacks: object) -> BuildError:
    with pytest.raises(BuildError) as caught:
        run_child(python(code), limits, what="the work", **callbacks)
    return caught.value


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends(pid: int, within_s: float = 20.0) -> bool:
    """Whether it is gone soon: whoever was killed with its parent ends on its own time."""
    deadline = time.monotonic() + within_s
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


def test_a_result_comes_back_and_progress_on_the_way():
    seen: list[tuple[str, float | None]] = []
    code = """
        print("a line for the log")
        report.stage("reading"); report.stage("building", 0.5); report.result({"layers": 3})
    """
    result = run_child(python(code), Limits(60), what="w", on_progress=lambda *stage: seen.append(stage))
    assert result == {"layers": 3}
    assert seen == [("reading", None), ("building", 0.5)]


def test_a_refusal_is_told_in_the_words_of_the_child():
    error = failure("""
        from edge_s4op.errors import BuildError
        print("W: a warning", flush=True)
        report.error(BuildError("no such operator", reason="refused", found="DFT", fix="export again"))
        raise SystemExit(1)
    """)
    assert (error.reason, error.found, error.fix) == ("refused", "DFT", "export again")
    assert error.what == "the work: no such operator"
    assert error.log == ("W: a warning",)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_crash_names_its_signal_and_the_last_words(name: str):
    error = failure(f"""
        import os, signal
        print("E: out of tactics", flush=True)
        os.kill(os.getpid(), signal.{name})
    """)
    assert error.reason == "crashed"
    assert name in str(error)
    assert "E: out of tactics" in str(error)


def test_a_child_the_kernel_killed_for_memory_is_told_from_a_crash(tmp_path: Path):
    (tmp_path / "proc").mkdir()
    kills = tmp_path / "proc/vmstat"
    kills.write_text("oom_kill 3\n")
    code = f"""
        import os, pathlib, signal
        pathlib.Path({str(kills)!r}).write_text("oom_kill 4\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    error = failure(code, memory=Memory(tmp_path))
    assert error.reason == "memory"
    assert "the kernel killed it" in str(error)


def test_an_exception_in_the_child_is_a_crash_with_its_text():
    error = failure("raise ValueError('torn weights')")
    assert error.reason == "crashed"
    assert "status 1" in str(error)
    assert "torn weights" in error.log[-1]


def test_ending_without_a_result_is_no_success():
    assert failure("pass").reason == "crashed"


def test_a_child_that_takes_too_long_is_killed_with_all_it_started():
    seen: list[float | None] = []
    code = """
import json, os, subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
os.write(int(os.environ["S4OP_REPORT_FD"]), json.dumps({"stage": "pid", "share": other.pid}).encode())
os.write(int(os.environ["S4OP_REPORT_FD"]), b"\\n")
time.sleep(600)
"""
    began = time.monotonic()
    with pytest.raises(BuildError, match="took too long; expected at most 5 s") as caught:
        run_child(
            [sys.executable, "-c", code], Limits(5), what="w", on_progress=lambda _, pid: seen.append(pid)
        )
    assert caught.value.reason == "timeout"
    assert time.monotonic() - began < 30
    assert seen[0] is not None
    assert ends(int(seen[0]))


def test_a_child_that_takes_too_much_memory_is_killed():
    error = failure(
        """
        import time
        print("taking", flush=True)
        taken = bytearray(b"x") * (300 << 20)
        time.sleep(600)
        """,
        Limits(60, memory_bytes=200 * MIB),
    )
    assert error.reason == "memory"
    assert "at most 200 MiB" in str(error)
    assert error.log == ("taking",)


def test_a_child_is_killed_before_the_machine_is_out_of_memory():
    error = failure("import time; time.sleep(600)", Limits(60, spare_bytes=1 << 60))
    assert error.reason == "memory"
    assert "nearly out of memory" in str(error)


def test_a_child_can_be_cancelled():
    stop = False

    def started(*_: object) -> None:
        nonlocal stop
        stop = True

    error = failure(
        "import time; report.stage('on'); time.sleep(600)", on_progress=started, should_stop=lambda: stop
    )
    assert error.reason == "cancelled"


def test_a_callback_that_raises_leaves_no_child_behind():
    pids: list[float | None] = []

    def broken(_: str, pid: float | None) -> None:
        pids.append(pid)
        raise RuntimeError("the disk is full")

    code = "import os, time; report.stage('pid', os.getpid()); time.sleep(600)"
    with pytest.raises(RuntimeError, match="disk is full"):
        run_child(python(code), Limits(60), what="w", on_progress=broken)
    assert ends(int(pids[0] or 0))


def test_a_program_that_does_not_exist_is_an_error():
    with pytest.raises(BuildError, match="cannot start a process"):
        run_child(["/nonexistent/python"], Limits(60), what="w")


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path):
    pid_file = tmp_path / "pid"
    child = f"""
import os, pathlib, time
be_expendable()
pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()) + " " + open("/proc/self/oom_score_adj").read())
time.sleep(600)
"""
    parent = f"""
import sys
from edge_s4op.runtime.tensorrt.child import Limits, run_child
run_child([sys.executable, "-c", {REPORT + child!r}], Limits(600), what="w")
"""
    process = subprocess.Popen([sys.executable, "-c", parent], env={**os.environ, "PYTHONPATH": os.getcwd()})
    _wait_until(lambda: pid_file.is_file() and len(pid_file.read_text().split()) == 2)
    pid, score = map(int, pid_file.read_text().split())
    assert score == 1000  # the kernel's first choice, before the parent
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_until(lambda: not is_running(pid))


def test_memory_is_read_as_the_kernel_writes_it(tmp_path: Path):
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/statm").write_text("9000 250 40 1 0 300 0\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8000 kB\nMemFree: 10 kB\nMemAvailable:   4096 kB\n")
    (tmp_path / "proc/vmstat").write_text("pgfault 5\noom_kill 3\n")
    memory = Memory(tmp_path)
    assert memory.resident_bytes(7) == 250 * os.sysconf("SC_PAGESIZE")
    assert memory.resident_bytes(8) == 0
    assert memory.available_bytes() == 4 * MIB
    assert memory.kernel_kills() == 3
    assert Memory(tmp_path / "nothing").available_bytes() is None


def _wait_until(condition: object, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
