"""Processor time from /proc: of the cores this process may use; where it cannot be read, there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_s4op.profiler.telemetry import Board, TelemetryRecorder
from edge_s4op.profiler.telemetry.load import TICK_S, CpuTimes, read_cpu_times

ALLOWED = "Name:\tpython\nCpus_allowed_list:\t0-1\n"


def tree(root: Path, *cores: str, status: str = ALLOWED) -> Path:
    """/proc with these columns of cpu0, cpu1, ... and a first line that adds them up to something else."""
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    lines = ["cpu 9 9 9 9 9 9 9 9 9 9", *(f"cpu{n} {columns}" for n, columns in enumerate(cores)), "ctxt 5"]
    (root / "proc/stat").write_text("\n".join(lines) + "\n")
    (root / "proc/self/status").write_text(status)
    return root


def times(root: Path) -> CpuTimes | None:
    return read_cpu_times(root, own=lambda: 1.5, clock=lambda: 7.0)


def test_waiting_is_not_busy_and_guests_and_steal_are_not_counted_twice(tmp_path: Path) -> None:
    # user nice system idle iowait irq softirq steal guest guest_nice
    found = times(tree(tmp_path, "100 20 3 9000 700 4 5 60 50 10", "1 1 1 9000 700 1 1 1 0 0"))
    assert found is not None
    assert found.busy_s == pytest.approx((132 + 5) * TICK_S)
    assert found.steal_s == pytest.approx(61 * TICK_S)
    assert (found.cores, found.own_s, found.at_s) == (2, 1.5, 7.0)


def test_cores_we_may_not_use_do_not_count(tmp_path: Path) -> None:
    cores = ["0 0 0 1 0 0 0 0 0 0", "0 0 0 1 0 0 0 0 0 0", "500 0 0 1 0 0 0 0 0 0"]
    found = times(tree(tmp_path, *cores))
    assert found is not None
    assert (found.cores, found.busy_s) == (2, 0)


def test_a_kernel_that_counts_no_steal_has_none(tmp_path: Path) -> None:
    found = times(tree(tmp_path, "1 0 0 9 0 0 0", "1 0 0 9 0 0 0"))
    assert found is not None
    assert found.steal_s == 0


@pytest.mark.parametrize(
    "text", ["", "cpu", "cpu0", "cpu0 x 1 2 3 4 5 6 7\n", "cpu0 1\ncpu1 1", "intr 5\n", "\0"]
)
def test_what_is_no_proc_stat_gives_nothing(tmp_path: Path, text: str) -> None:
    (tree(tmp_path) / "proc/stat").write_text(text)
    assert times(tmp_path) is None


def test_a_missing_proc_disturbs_nothing(tmp_path: Path) -> None:
    assert times(tmp_path) is None
    recorder = TelemetryRecorder(Board(), root=tmp_path)
    with recorder.sampling():
        pass
    assert recorder.disturbances() == ()


def test_a_proc_that_vanishes_meanwhile_disturbs_nothing(tmp_path: Path) -> None:
    recorder = TelemetryRecorder(Board(), root=tree(tmp_path, "0 0 0 0 0 0 0 0", "0 0 0 0 0 0 0 0"))
    with recorder.sampling():
        (tmp_path / "proc/stat").unlink()
    assert recorder.disturbances() == ()


@pytest.mark.parametrize(
    ("user", "steal", "kinds"), [(0, 0, []), (2, 1, []), (5000, 0, ["cpu-load"]), (0, 5000, ["cpu-steal"])]
)
def test_a_window_is_judged_by_what_proc_counted_in_it(
    tmp_path: Path, user: int, steal: int, kinds: list[str]
) -> None:
    """Counts as of an idle, a hogged and a robbed machine; 5000 ticks are more than the window can last."""
    recorder = TelemetryRecorder(Board(), root=tree(tmp_path, *["70 0 0 0 0 0 0 70"] * 2))
    with recorder.sampling():
        tree(tmp_path, f"{70 + user} 0 0 900 900 0 0 {70 + steal}", "70 0 0 900 900 0 0 70")
    assert [found.kind for found in recorder.disturbances()] == kinds
