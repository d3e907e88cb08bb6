"""Measurements in the database: what is queued, what ran, what came of it."""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone

from device_agent.database import Database
from device_agent.errors import RequestError, not_found_error
from edge_s4op.messages import Job, JobState, MeasurementRequest, MeasurementResult

__all__ = ["MAX_ATTEMPTS", "JobRecords", "Outcome"]

_COLUMNS = "sequence, id, state, request, attempts, error, result, created_at, finished_at"  # no samples

MAX_ATTEMPTS = 2  # a measurement the agent died in is run once more, then given up


@dataclass(frozen=True)
class Outcome:
    """How a measurement ended."""

    state: JobState
    error: str | None = None
    result: MeasurementResult | None = None
    samples: bytes | None = None  # little-endian float64, ms


class JobRecords:
    """The table of measurements. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, request: MeasurementRequest, key: str | None, *, any_backend: bool = False) -> Job:
        """Queue `request`; the same `key` again gives the job it gave before.

        With `any_backend` the backend was not asked for, so it may differ between the two.
        Raises RequestError 409 when the key was used for another request.
        """
        with self._database.transaction() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE idempotency_key = ?", (key,)
            ).fetchone()
            if row is None:
                job_id = uuid.uuid4().hex[:16]
                connection.execute(
                    "INSERT INTO jobs (id, idempotency_key, state, request, created_at)"
                    " VALUES (?, ?, 'queued', ?, ?)",
                    (job_id, key, request.model_dump_json(), _now()),
                )
                row = _row(connection, job_id)
            job = _job_of(row, connection)
        asked = request.model_copy(update={"backend": job.request.backend}) if any_backend else request
        if job.request != asked:
            raise RequestError(
                f"the Idempotency-Key {key!r} was used for another request (measurement {job.id})",
                status_code=409,
                fix="take a new key for a new request",
            )
        return job

    def unended_of(self, artifact_sha256: str) -> list[str]:
        """Ids of the measurements of an artifact that wait or run."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT id, request FROM jobs WHERE state IN ('queued', 'running')"
            ).fetchall()
        requests = ((row["id"], MeasurementRequest.model_validate_json(row["request"])) for row in rows)
        return [job_id for job_id, request in requests if request.artifact_sha256 == artifact_sha256]

    def get(self, job_id: str) -> Job:
        """One measurement. Raises RequestError 404."""
        with self._database.transaction() as connection:
            return _job_of(_row(connection, job_id), connection)

    def latest(self, limit: int) -> list[Job]:
        """The newest `limit` measurements, newest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM jobs ORDER BY sequence DESC LIMIT ?", (limit,)
            ).fetchall()
            return [_job_of(row, connection) for row in rows]

    def samples(self, job_id: str) -> bytes | None:
        """Raw latencies of a measurement, or None while there are none. Raises RequestError 404."""
        with self._database.transaction() as connection:
            samples = _row(connection, job_id, "samples")["samples"]
        return None if samples is None else bytes(samples)

    def claim(self) -> Job | None:
        """Mark the oldest queued measurement as running and return it."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT id FROM jobs WHERE state = 'queued' ORDER BY sequence LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1 WHERE id = ?", (row["id"],)
            )
            return _job_of(_row(connection, row["id"]), connection)

    def cancel_queued(self, job_id: str) -> None:
        """Cancel a measurement if it still waits."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'cancelled', finished_at = ? WHERE id = ? AND state = 'queued'",
                (_now(), job_id),
            )

    def finish(self, job_id: str, outcome: Outcome) -> None:
        """Write down how a measurement ended."""
        result = None if outcome.result is None else outcome.result.model_dump_json()
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, error = ?, result = ?, samples = ?, finished_at = ? WHERE id = ?",
                (outcome.state, outcome.error, result, outcome.samples, _now(), job_id),
            )

    def put_back(self, job_id: str) -> None:
        """Queue a running measurement again, as if it had not begun (a clean stop of the agent)."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'queued', attempts = attempts - 1"
                " WHERE id = ? AND state = 'running'",
                (job_id,),
            )

    def recover(self) -> tuple[list[str], list[str]]:
        """After a crash: running measurements are (queued again, given up), by id."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT id, attempts FROM jobs WHERE state = 'running'").fetchall()
            again = [row["id"] for row in rows if row["attempts"] < MAX_ATTEMPTS]
            given_up = [row["id"] for row in rows if row["attempts"] >= MAX_ATTEMPTS]
            for job_id in again:
                connection.execute("UPDATE jobs SET state = 'queued' WHERE id = ?", (job_id,))
            for job_id in given_up:
                connection.execute(
                    "UPDATE jobs SET state = 'failed', error = ?, finished_at = ? WHERE id = ?",
                    (f"the agent died {MAX_ATTEMPTS} times while this measurement ran", _now(), job_id),
                )
        return again, given_up


def _row(connection: sqlite3.Connection, job_id: str, columns: str = _COLUMNS) -> sqlite3.Row:
    row = connection.execute(f"SELECT {columns} FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise not_found_error(f"no measurement {job_id!r} here")
    assert isinstance(row, sqlite3.Row)
    return row


def _job_of(row: sqlite3.Row, connection: sqlite3.Connection) -> Job:
    result = row["result"]
    return Job(
        id=row["id"],
        state=row["state"],
        request=MeasurementRequest.model_validate_json(row["request"]),
        position=_position(row, connection),
        progress=1.0 if row["state"] == "succeeded" else 0.0,
        error=row["error"],
        result=None if result is None else MeasurementResult.model_validate_json(result),
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )


def _position(row: sqlite3.Row, connection: sqlite3.Connection) -> int | None:
    if row["state"] != "queued":
        return None
    ahead = connection.execute(
        "SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND sequence < ?", (row["sequence"],)
    )
    return int(ahead.fetchone()[0])


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
