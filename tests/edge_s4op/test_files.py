"""A written file is there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from edge_s4op.errors import StorageError
from edge_s4op.files import atomic_file, sha256_of_file, write_bytes, write_text

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from edge_s4op.errors import StorageError
from edge_s4op.files import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing past the limit fails with EFBIG, as a full disk does
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path(sys.argv[1]), b"x" * 100_000)
except StorageError as error:
    print(error)
"""


def test_round_trip_and_parents_are_made(tmp_path: Path):
    write_text(tmp_path / "a" / "b.txt", "grüße")
    assert (tmp_path / "a" / "b.txt").read_text(encoding="utf-8") == "grüße"
    assert sha256_of_file(tmp_path / "a" / "b.txt") == hashlib.sha256("grüße".encode()).hexdigest()


def test_a_failure_keeps_the_old_content_and_leaves_no_temporary(tmp_path: Path):
    path = tmp_path / "model.onnx"
    write_bytes(path, b"old")
    with contextlib.suppress(KeyboardInterrupt), atomic_file(path) as file:
        file.write(b"new, but")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_storage_error_and_loses_nothing(tmp_path: Path):
    path = tmp_path / "family.json"
    write_bytes(path, b"old")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert "cannot write" in done.stdout
    assert "nothing was left half-written" in done.stdout
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_a_folder_is_a_storage_error(tmp_path: Path):
    write_bytes(tmp_path / "file", b"")
    with pytest.raises(StorageError, match="cannot write"):
        write_bytes(tmp_path / "file" / "below", b"")
