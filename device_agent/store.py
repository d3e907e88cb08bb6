"""Model files by content: `<sha256>.onnx` in one folder, listed in the database."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from device_agent.database import Database
from device_agent.errors import not_found_error
from edge_s4op.artifact import Artifact, Manifest, artifact_from_bytes, read_artifact
from edge_s4op.errors import ArtifactError, HashMismatchError, StorageError
from edge_s4op.files import atomic_file
from edge_s4op.messages import ArtifactInfo

__all__ = ["ArtifactStore"]

_log = logging.getLogger("device_agent.store")

_PIECE_BYTES = 1 << 20


class ArtifactStore:
    """The agent's model files. A file is listed only once it is whole, verified and synced."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder = folder
        self._database = database
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._reconcile()
        except OSError as error:
            raise StorageError(
                f"cannot use {folder}: {error.strerror}", fix="choose another --data-dir"
            ) from error

    @property
    def is_open(self) -> bool:
        """Whether files can be stored and read."""
        return os.access(self._folder, os.R_OK | os.W_OK | os.X_OK)

    def receive(self, sha256: str, pieces: Iterable[bytes]) -> tuple[ArtifactInfo, bool]:
        """Take in a file piece by piece; (what it is, whether it is new).

        It is hashed on its way to a temporary file, verified by reading that back, then renamed.
        Raises HashMismatchError, CorruptArtifactError, StorageError; then nothing is left behind.
        """
        held = self.find(sha256)
        if held is not None:
            _check_hash(sha256, _hashed(pieces))
            return held, False
        path = self._path(sha256)
        with atomic_file(path) as file:
            _check_hash(sha256, _hashed(pieces, file.write))
            file.flush()
            artifact = artifact_from_bytes(_read_back(file.fileno()), f"artifact {sha256[:12]}", sha256)
        info = ArtifactInfo(sha256=sha256, size_bytes=artifact.size_bytes, manifest=artifact.manifest)
        with _removed_on_failure(path):
            self._list(info)
        _log.info("stored artifact %s, %d bytes", sha256[:12], info.size_bytes)
        return info, True

    def receive_unnamed(self, pieces: Iterable[bytes]) -> tuple[ArtifactInfo, bool]:
        """As `receive`, for who cannot tell the hash: the content names itself. It is written twice."""
        try:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                sha256 = _hashed(pieces, file.write)
                file.seek(0)
                return self.receive(sha256, iter(partial(file.read, _PIECE_BYTES), b""))
        except OSError as error:
            raise StorageError(f"cannot write to {self._folder}: {error.strerror or error}") from error

    def find(self, sha256: str) -> ArtifactInfo | None:
        """What is known of a stored file; None also when it has gone from the folder (send it again)."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT * FROM artifacts WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None or not self._path(sha256).exists() else _info_of(row)

    def get(self, sha256: str) -> ArtifactInfo:
        """As `find`; raises RequestError 404 when it is not here."""
        info = self.find(sha256)
        if info is None:
            raise not_found_error(f"no artifact {sha256} here", "upload it first: PUT /v1/artifacts/SHA256")
        return info

    def all(self) -> list[ArtifactInfo]:
        """Every stored file, by hash."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT * FROM artifacts ORDER BY sha256").fetchall()
        return [_info_of(row) for row in rows]

    def usage(self) -> tuple[int, int]:
        """How many files are stored, and their size in bytes."""
        with self._database.transaction() as connection:
            count, size_bytes = connection.execute(
                "SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM artifacts"
            ).fetchone()
        return count, size_bytes

    def read(self, sha256: str) -> Artifact:
        """Read and verify a stored file. A damaged one is dropped, so that it can be sent again."""
        self.get(sha256)
        try:
            return read_artifact(self._path(sha256), sha256)
        except HashMismatchError as error:
            self._drop(sha256)
            raise not_found_error(
                f"artifact {sha256} was damaged on the device's disk and has been dropped", "upload it again"
            ) from error

    def remove(self, sha256: str) -> None:
        """Forget a stored file; its bytes go with it."""
        self._unlist(sha256)
        _log.info("artifact %s: removed", sha256[:12])

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.onnx"

    def _list(self, info: ArtifactInfo) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?)",
                (info.sha256, info.size_bytes, info.manifest.model_dump_json()),
            )

    def _drop(self, sha256: str) -> None:
        _log.error("artifact %s is damaged: dropped", sha256[:12])
        self._unlist(sha256)

    def _unlist(self, sha256: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM artifacts WHERE sha256 = ?", (sha256,))
        self._path(sha256).unlink(missing_ok=True)

    def _reconcile(self) -> None:
        """After a crash: no unfinished uploads, no file unlisted, no listed file missing."""
        for temporary in self._folder.glob(".*.onnx.*"):
            temporary.unlink(missing_ok=True)
        found = {path.stem for path in self._folder.glob("*.onnx")}
        listed = {info.sha256 for info in self.all()}
        for sha256 in listed - found:
            self._drop(sha256)
        for sha256 in found - listed:
            self._adopt(sha256)

    def _adopt(self, sha256: str) -> None:
        path = self._path(sha256)
        try:
            artifact = read_artifact(path, sha256)
        except ArtifactError as error:
            _log.error("ignored %s: %s", path, error)
            return
        self._list(ArtifactInfo(sha256=sha256, size_bytes=artifact.size_bytes, manifest=artifact.manifest))


def _hashed(pieces: Iterable[bytes], write: Callable[[bytes], object] | None = None) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        if write is not None:
            write(piece)
    return digest.hexdigest()


def _check_hash(expected: str, found: str) -> None:
    if expected != found:
        raise HashMismatchError(
            "the content does not match the hash it was sent under",
            expected=f"sha256 {expected}",
            found=found,
            fix="send or export the file again",
        )


def _read_back(descriptor: int) -> bytes:
    pieces, offset = [], 0
    while piece := os.pread(descriptor, 1 << 24, offset):
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        path.unlink(missing_ok=True)
        raise


def _info_of(row: sqlite3.Row) -> ArtifactInfo:
    manifest = Manifest.model_validate_json(row["manifest"])
    return ArtifactInfo(sha256=row["sha256"], size_bytes=row["size_bytes"], manifest=manifest)
