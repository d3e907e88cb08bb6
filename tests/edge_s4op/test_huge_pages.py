"""A program asks malloc for huge pages once, keeps its number and arguments, and obeys the user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_s4op.huge_pages import huge_pages_mode

MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PROGRAM = """
import os, sys
from edge_s4op.huge_pages import huge_pages_mode, restart_with_huge_pages
print("start", os.getpid(), sys.argv[1:])
restart_with_huge_pages()
print("on", os.getpid(), huge_pages_mode(), os.environ.get("GLIBC_TUNABLES"))
"""


def tree(root: Path, mode: str, environment: bytes) -> Path:
    for name, content in ((MODE.relative_to("/"), mode.encode()), (Path("proc/self/environ"), environment)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.mark.parametrize(
    ("mode", "environment", "expected"),
    [
        ("[always] madvise never\n", b"A=1\0", "always"),
        ("always [madvise] never\n", b"A=1\0", "madvise"),
        ("always [madvise] never\n", b"A=1\0GLIBC_TUNABLES=glibc.malloc.hugetlb=1\0", "malloc"),
        (
            "always [madvise] never\n",
            b"GLIBC_TUNABLES=glibc.malloc.check=3:glibc.malloc.hugetlb=2\0",
            "malloc",
        ),
        ("always [madvise] never\n", b"GLIBC_TUNABLES=glibc.malloc.hugetlb=0\0", "madvise"),
        ("always madvise [never]\n", b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1\0", "never"),
        ("nonsense\n", b"", "unknown"),
    ],
)
def test_the_mode_is_read_from_the_kernel_and_the_environment(
    tmp_path: Path, mode: str, environment: bytes, expected: str
) -> None:
    assert huge_pages_mode(tree(tmp_path, mode, environment)) == expected


def test_without_the_kernel_s_file_the_mode_is_unknown(tmp_path: Path) -> None:
    assert huge_pages_mode(tmp_path) == "unknown"


def run(tunables: str | None) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    environment |= {} if tunables is None else {"GLIBC_TUNABLES": tunables}
    command = [sys.executable, "-c", PROGRAM, "one", "two words"]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()


def test_a_program_restarts_once_with_its_number_and_arguments() -> None:
    if not MODE.exists() or "[madvise]" not in MODE.read_text():
        pytest.skip("the kernel's huge page mode is not madvise; a kernel where it is would run this")
    lines = run(None)
    pid = lines[0].split()[1]
    assert lines == [
        f"start {pid} ['one', 'two words']",
        f"start {pid} ['one', 'two words']",
        f"on {pid} malloc glibc.malloc.hugetlb=1",
    ]
    assert run("glibc.malloc.check=1")[-1].endswith(" malloc glibc.malloc.check=1:glibc.malloc.hugetlb=1")


def test_what_the_user_chose_is_left_alone() -> None:
    lines = run("glibc.malloc.hugetlb=0")
    assert [line.split()[0] for line in lines] == ["start", "on"]
    assert lines[1].endswith(" glibc.malloc.hugetlb=0")
