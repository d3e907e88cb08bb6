"""Memory of a window: its own peak, what a model added, and nothing made up where it cannot be read."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from edge_s4op.messages import Memory
from edge_s4op.profiler.memory import resident_bytes, watch_memory

MIB = 1 << 20


def proc(root: Path, status: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/status").write_text(status)
    return root


def touched() -> mmap.mmap:
    """64 MiB straight from the kernel: an allocator may have as much lying free from other tests."""
    memory = mmap.mmap(-1, 64 * MIB)
    memory.write(b"1" * (64 * MIB))
    return memory


def test_memory_that_comes_and_goes_within_the_window_is_its_peak() -> None:
    with watch_memory() as before:
        pass
    with watch_memory() as watch:
        touched().close()
    with watch_memory() as after:
        pass
    peaks = [seen.memory().peak_bytes for seen in (before, watch, after)]
    if None in peaks or resident_bytes() is None:
        pytest.skip("/proc/self/status cannot be read here; any Linux would run this")
    quiet, busy, again = (peak or 0 for peak in peaks)
    assert busy - quiet > 60 * MIB
    assert busy - again > 60 * MIB, "the record did not start anew"


def test_what_loading_added_is_counted_from_before() -> None:
    before = resident_bytes()
    held = touched()
    with watch_memory(before) as watch:
        pass
    assert watch.memory().model_bytes is not None
    assert (watch.memory().model_bytes or 0) > 60 * MIB
    held.close()


def test_where_the_record_cannot_start_anew_the_ends_of_the_window_stand_for_it(tmp_path: Path) -> None:
    root = proc(tmp_path, "VmHWM:\t999999 kB\nVmRSS:\t1000 kB\n")
    (root / "proc/self/clear_refs").mkdir()  # cannot be written, whoever we are
    with watch_memory(500 * 1024, root) as watch:
        (root / "proc/self/status").write_text("VmHWM:\t999999 kB\nVmRSS:\t3000 kB\n")
    assert watch.memory() == Memory(peak_bytes=3000 * 1024, model_bytes=2500 * 1024)


@pytest.mark.parametrize("status", ["", "VmRSS:\tmuch kB\nVmHWM:\n", "\x00\xff"])
def test_what_cannot_be_read_is_not_there(tmp_path: Path, status: str) -> None:
    root = proc(tmp_path, status)
    with watch_memory(1, root) as watch:
        pass
    assert watch.memory() == Memory(peak_bytes=None, model_bytes=None)


def test_a_machine_without_proc_tells_nothing(tmp_path: Path) -> None:
    with watch_memory(1, tmp_path) as watch:
        pass
    assert watch.memory() == Memory(peak_bytes=None, model_bytes=None)
