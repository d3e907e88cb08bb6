"""Measurements in the database: what is queued, what ran, what came of it."""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone

from device_agent.database import Database
from device_agent.errors import RequestError, not_found_error
from edge_s4op.messages import DeviceFacts, Job, JobState, MeasurementRequest, MeasurementResult

__all__ = ["MAX_ATTEMPTS", "JobRecords", "Outcome"]

_COLUMNS = (  # no samples
    "sequence, id, state, priority, request, attempts, error, result, created_at, finished_at"
)
MAX_ATTEMPTS = 2  # a measurement the agent died in is run once more, then given up


@dataclass(frozen=True)
class Outcome:
    """How a measurement ended."""

    state: JobState
    error: str | None = None
    result: MeasurementResult | None = None
    samples: bytes | None = None  # little-endian float64, ms
    baseline_samples: bytes | None = None
    device: DeviceFacts | None = None  # as it was while measuring


class JobRecords:
    """The table of measurements. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, request: MeasurementRequest, key: str | None, *, any_backend: bool = False) -> Job:
        """Queue `request`; the same `key` again gives the job it gave before.

        With `any_backend` the backend was not asked for, so it may differ between the two; the priority may
        have been changed since.
        Raises RequestError 409 when the key was used for another request.
        """
        with self._database.transaction() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE idempotency_key = ?", (key,)
            ).fetchone()
            if row is None:
                job_id = uuid.uuid4().hex[:16]
                connection.execute(
                    "INSERT INTO jobs (id, idempotency_key, state, priority, request, created_at)"
                    " VALUES (?, ?, 'queued', ?, ?, ?)",
                    (job_id, key, request.priority, request.model_dump_json(), _now()),
                )
                row = _row(connection, job_id)
            job = _job_of(row, connection)
        may_differ = {"priority"} | ({"backend"} if any_backend else set())
        if request.model_dump(exclude=may_differ) != job.request.model_dump(exclude=may_differ):
            raise RequestError(
                f"the Idempotency-Key {key!r} was used for another request (measurement {job.id})",
                status_code=409,
                fix="take a new key for a new request",
            )
        return job

    def counts(self) -> dict[JobState, int]:
        """How many measurements are in each state that any is in."""
        with self._database.transaction() as connection:
            return dict(connection.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())

    def unended_of(self, artifact_sha256: str) -> list[str]:
        """Ids of the measurements that wait or run and need an artifact, also as their baseline."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT id, request FROM jobs WHERE state IN ('queued', 'running')"
            ).fetchall()
        requests = ((row["id"], MeasurementRequest.model_validate_json(row["request"])) for row in rows)
        return [
            job_id
            for job_id, request in requests
            if artifact_sha256 in (request.artifact_sha256, request.baseline_sha256)
        ]

    def get(self, job_id: str) -> Job:
        """One measurement. Raises RequestError 404."""
        with self._database.transaction() as connection:
            return _job_of(_row(connection, job_id), connection)

    def latest(self, limit: int, state: JobState | None = None) -> list[Job]:
        """The newest `limit` measurements, newest first; only those in `state` if given."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE :state IS NULL OR state = :state"
                " ORDER BY sequence DESC LIMIT :limit",
                {"state": state, "limit": limit},
            ).fetchall()
            return [_job_of(row, connection) for row in rows]

    def samples(self, job_id: str) -> tuple[bytes | None, bytes | None]:
        """Raw latencies of a measurement and its baseline; None where there are none. RequestError 404."""
        with self._database.transaction() as connection:
            row = _row(connection, job_id, "samples, baseline_samples")
        return row["samples"], row["baseline_samples"]

    def device_of(self, job_id: str) -> DeviceFacts | None:
        """The device as it was while measuring; None if that was not kept. Raises RequestError 404."""
        with self._database.transaction() as connection:
            text = _row(connection, job_id, "device")["device"]
        return None if text is None else DeviceFacts.model_validate_json(text)

    def claim(self) -> Job | None:
        """Mark the queued measurement whose turn it is as running and return it."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT id FROM jobs WHERE state = 'queued' ORDER BY priority DESC, sequence LIMIT 1"
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

    def prioritise(self, job_id: str, priority: int) -> None:
        """Change the priority of a measurement that waits. Raises RequestError: 404, 409 it waits no more."""
        with self._database.transaction() as connection:
            state = _row(connection, job_id, "state")["state"]
            if state != "queued":
                raise RequestError(
                    f"measurement {job_id} does not wait any more: it is {state}", status_code=409
                )
            connection.execute("UPDATE jobs SET priority = ? WHERE id = ?", (priority, job_id))

    def finish(self, job_id: str, outcome: Outcome) -> None:
        """Write down how a measurement ended."""
        result = None if outcome.result is None else outcome.result.model_dump_json()
        device = None if outcome.device is None else outcome.device.model_dump_json()
        samples = (outcome.samples, outcome.baseline_samples)
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, error = ?, result = ?, samples = ?, baseline_samples = ?,"
                " device = ?, finished_at = ? WHERE id = ?",
                (outcome.state, outcome.error, result, *samples, device, _now(), job_id),
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
    request = MeasurementRequest.model_validate_json(row["request"])
    return Job(
        id=row["id"],
        state=row["state"],
        request=request.model_copy(update={"priority": row["priority"]}),  # it may have been changed
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
        "SELECT COUNT(*) FROM jobs WHERE state = 'queued'"
        " AND (priority > :priority OR (priority = :priority AND sequence < :sequence))",
        {"priority": row["priority"], "sequence": row["sequence"]},
    )
    return int(ahead.fetchone()[0])


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
