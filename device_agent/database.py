"""The agent's SQLite file (WAL): opening, schema, transactions, typed failures."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from edge_s4op.errors import StorageError

__all__ = ["Database"]

# What each version of the schema added; a file of an earlier version takes the steps it lacks.
_STEPS = (
    """
CREATE TABLE artifacts (
    sha256 TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    manifest TEXT NOT NULL
);
CREATE TABLE jobs (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    idempotency_key TEXT UNIQUE,
    state TEXT NOT NULL,
    request TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    result TEXT,
    samples BLOB,
    created_at TEXT NOT NULL,
    finished_at TEXT
);
CREATE INDEX jobs_by_state ON jobs (state, sequence);
CREATE TABLE models (
    name TEXT PRIMARY KEY,
    request TEXT NOT NULL
);
""",
    """
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN baseline_samples BLOB;
ALTER TABLE jobs ADD COLUMN device TEXT;
DROP INDEX jobs_by_state;
CREATE INDEX jobs_by_rank ON jobs (state, priority DESC, sequence);
""",
    """
ALTER TABLE models ADD COLUMN loaded INTEGER NOT NULL DEFAULT 1;
""",
    """
CREATE TABLE families (
    name TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    pinned TEXT
);
""",
)
_VERSION = len(_STEPS)


class Database:
    """One connection, used by one thread at a time. Raises StorageError for whatever SQLite reports."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with self._typed_errors():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            with contextlib.ExitStack() as opened:  # closed again if it is not ours
                opened.callback(self._connection.close)
                self._prepare()
                opened.pop_all()

    @property
    def is_open(self) -> bool:
        """Whether it can be read."""
        try:
            with self.transaction() as connection:
                connection.execute("SELECT 1")
        except StorageError:
            return False
        return True

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the statements inside, on disk when the block ends, or none of them."""
        with self._lock, self._typed_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Fold the log into the file and close; later transactions raise StorageError."""
        with self._lock, self._typed_errors():
            self._connection.close()

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")  # a device may lose power at any time
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if 0 <= version < _VERSION:
            steps = "".join(_STEPS[version:])
            self._connection.executescript(f"BEGIN; {steps} PRAGMA user_version={_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise StorageError(
                f"{self._path}: written by another version of the agent",
                expected=f"schema {_VERSION} or earlier",
                found=version,
                fix="choose another --data-dir, or install that version",
            )

    @contextlib.contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(
                f"{self._path}: the database refuses: {error}",
                fix="free some space, check the disk, or choose another --data-dir",
            ) from error
