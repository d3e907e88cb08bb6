"""The kernels compile for Orin (sm_87) and Hopper (sm_90) within what a multiprocessor has."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from tests.trt_plugins.conftest import CudaBuild
from trt_plugins.cpu.kernel_library import ORIN_SHARED_BYTES

ARCHITECTURES = ("sm_87", "sm_90")
ALGORITHMS = ("fft", "scan", "toeplitz")
REGISTERS_A_MULTIPROCESSOR = 65536
REGISTER_UNIT = 8  # registers are given to a thread by eights
# Of a multiprocessor's 48 (Orin) or 64 (Hopper): two for each of its four schedulers. The longest
# transforms have no more, since their shared memory leaves room for one block.
LEAST_WARPS = 8

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
STATIC_SHARED = re.compile(r"(\d+) bytes smem")
THREADS = re.compile(r"\.entry (\w+)\([^{]*?\.maxntid (\d+)", re.DOTALL)


@dataclass(frozen=True)
class Usage:
    """What ptxas reports about one kernel on one architecture."""

    kernel: str  # demangled
    architecture: str
    threads: int
    registers: int
    stack_bytes: int
    spill_bytes: int
    static_shared_bytes: int

    @property
    def warps(self) -> int:
        """Warps that the registers of a multiprocessor leave room for, in whole blocks."""
        given = -(-self.registers // REGISTER_UNIT) * REGISTER_UNIT
        return REGISTERS_A_MULTIPROCESSOR // (given * self.threads) * self.threads // 32


@pytest.fixture(scope="module")
def usages(cuda_build: CudaBuild) -> list[Usage]:
    texts = [path.read_text() for path in cuda_build.folder.glob("*.ptx")]
    threads = {name: int(count) for text in texts for name, count in THREADS.findall(text)}
    return parse(cuda_build.log, threads)


def parse(log: str, threads: Mapping[str, int]) -> list[Usage]:
    """Every kernel in the words of `ptxas -v`, threads a block by mangled name."""
    found = []
    for start, end in zip(
        entries := [m.start() for m in ENTRY.finditer(log)], [*entries[1:], None], strict=True
    ):
        part = log[start:end]
        entry, frame, used = ENTRY.search(part), FRAME.search(part), USED.search(part)
        assert None not in (entry, frame, used), f"ptxas' report is not understood: {part}"
        stack, stores, loads = map(int, frame.groups())
        shared = STATIC_SHARED.search(part)
        name, architecture = entry.groups()
        kernel = demangled(name)
        if kernel is None:
            continue
        sizes = (int(used[1]), stack, stores + loads, int(shared[1]) if shared else 0)
        found.append(Usage(kernel, architecture, threads[name], *sizes))
    return found


def demangled(name: str) -> str | None:
    """s4op::runKernel<K>'s K, without the anonymous namespace; None for kernels of the benchmark itself."""
    command = shutil.which("c++filt") or shutil.which("cu++filt")
    if command is None:
        return name if "runKernel" in name else None
    words = subprocess.run([command, name], capture_output=True, text=True, check=True).stdout.strip()
    kernel = re.search(r"runKernel<(.*)>\(", words)
    return kernel and re.sub(r"s4op::|\(anonymous namespace\)::", "", kernel[1]).strip()


def table(usages: Sequence[Usage]) -> str:
    lines = [f"{'kernel':64} {'arch':6} threads registers warps/SM spills stack"]
    for u in sorted(usages, key=lambda u: (u.architecture, u.kernel)):
        sizes = f"{u.threads:7} {u.registers:9} {u.warps:8} {u.spill_bytes:6} {u.stack_bytes:5}"
        lines.append(f"{u.kernel:64} {u.architecture:6} {sizes}")
    return "\n".join(lines)


def test_every_algorithm_has_kernels_for_both(
    usages: list[Usage], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\n{table(usages)}")
    for architecture in ARCHITECTURES:
        names = [u.kernel for u in usages if u.architecture == architecture]
        assert all(any(algorithm in name for name in names) for algorithm in ALGORITHMS), names


def test_nothing_spills_to_local_memory(usages: list[Usage]) -> None:
    spilling = [u for u in usages if u.spill_bytes or u.stack_bytes]
    assert not spilling, table(spilling)


def test_registers_leave_room_for_warps(usages: list[Usage]) -> None:
    crowded = [u for u in usages if u.warps < LEAST_WARPS]
    assert not crowded, table(crowded)


def test_static_shared_memory_fits_an_orin(usages: list[Usage]) -> None:
    """Dynamic shared memory is what `supports` weighs: see test_kernel_choice."""
    assert [u for u in usages if u.static_shared_bytes > min(ORIN_SHARED_BYTES, 48 * 1024)] == []
