"""A data folder that an earlier version wrote: what is in it stays, and goes on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from device_agent.database import Database
from edge_s4op.errors import StorageError
from edge_s4op.messages import Job, Samples
from edge_s4op.profiler.measure import samples_sha256
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.agent_requests import ended, job_of

VERSION_1 = """
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
PRAGMA user_version=1;
"""
ARTIFACT = scaling_artifact(3.0)
SAMPLES_MS = np.array([0.5, 0.25, 1.0])
REQUEST = (
    f'{{"backend":"onnxruntime","threads":1,"batch":1,"warmup_ms":0.0,"max_duration_ms":30.0,'
    f'"min_duration_ms":0.0,"min_iterations":3,"precision":0.02,"confidence":0.95,'
    f'"artifact_sha256":"{ARTIFACT.sha256}"}}'
)
RESULT = (
    f'{{"request":{REQUEST},"device_fingerprint":"{{fingerprint}}","backend_version":"1.20.0",'
    f'"warmup_iterations":1,"iterations":3,"stopped_by":"time","latency_ms":{{{{"minimum":0.25,"maximum":1.0,'
    f'"mean":0.5833,"median":0.5,"p90":1.0,"p95":1.0,"p99":1.0,"median_interval":{{{{"low":0.25,"high":1.0}}}},'
    f'"p95_interval":{{{{"low":0.25,"high":1.0}}}}}}}},"throughput_per_s":1714.3,'
    f'"samples_sha256":"{samples_sha256(SAMPLES_MS)}","energy":null,"parts":null,"engine":null}}'
)


def result_of(fingerprint: str) -> str:
    text = RESULT.replace("{{", "{").replace("}}", "}")
    return text.replace("{fingerprint}", fingerprint)


def write_version_1(folder: Path, fingerprint: str = "0" * 64) -> None:
    """What an agent of schema 1 left: one measurement done, one running when it died, one waiting."""
    (folder / "artifacts").mkdir(parents=True)
    (folder / "artifacts" / f"{ARTIFACT.sha256}.onnx").write_bytes(ARTIFACT.content)
    connection = sqlite3.connect(folder / "agent.sqlite")
    connection.executescript(VERSION_1)
    connection.execute(
        "INSERT INTO artifacts VALUES (?, ?, ?)",
        (ARTIFACT.sha256, len(ARTIFACT.content), ARTIFACT.manifest.model_dump_json()),
    )
    done = (
        REQUEST,
        1,
        result_of(fingerprint),
        SAMPLES_MS.astype("<f8").tobytes(),
        "2025-01-01T00:00:01.000+00:00",
    )
    columns = "id, idempotency_key, state, request, attempts, result, samples, finished_at, created_at"
    insert = f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '2025-01-01T00:00:00.000+00:00')"
    connection.execute(insert, ("done", "k", "succeeded", *done))
    connection.execute(insert, ("died", None, "running", REQUEST, 1, None, None, None))
    connection.execute(insert, ("waits", None, "queued", REQUEST, 0, None, None, None))
    model = f'{{"artifact_sha256":"{ARTIFACT.sha256}","backend":"onnxruntime","threads":1,"max_batch":1}}'
    connection.execute("INSERT INTO models VALUES ('m', ?)", (model,))
    connection.commit()
    connection.close()


def test_an_old_folder_keeps_its_results_and_goes_on_with_its_queue(start, tmp_path: Path) -> None:
    write_version_1(tmp_path / "data")
    http = start()
    done = job_of(http, "done")
    assert (done.state, done.request.priority, done.result.latency_ms.median) == ("succeeded", 0, 0.5)
    assert done.result.disturbed == ()
    samples = Samples.model_validate(http.get("/v1/measurements/done/samples").json())
    assert samples.samples_ms == tuple(SAMPLES_MS)
    assert samples.baseline_samples_ms is None
    assert ended(http, "died").state == ended(http, "waits").state == "succeeded"
    assert http.get("/v1/models").json()[0]["name"] == "m"
    jobs = [Job.model_validate(job) for job in http.get("/v1/measurements").json()]
    assert [job.id for job in jobs] == ["waits", "died", "done"]


def test_an_old_submission_is_found_by_its_key(start, tmp_path: Path) -> None:
    write_version_1(tmp_path / "data")
    http = start()
    headers = {"Idempotency-Key": "k"}
    answer = http.post("/v1/measurements", content=REQUEST.encode(), headers=headers)
    assert (answer.status_code, answer.json()["id"]) == (202, "done")


def test_an_old_file_becomes_what_a_new_one_is(tmp_path: Path) -> None:
    write_version_1(tmp_path / "old")
    schemas = []
    for folder in (tmp_path / "old", tmp_path / "new"):
        folder.mkdir(exist_ok=True)
        for _ in range(2):  # opened again, nothing is left to do
            Database(folder / "agent.sqlite").close()
        connection = sqlite3.connect(folder / "agent.sqlite")
        schema = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
        schemas.append((connection.execute("PRAGMA user_version").fetchone(), schema))
        connection.close()
    assert schemas[0] == schemas[1]
    assert schemas[0][0] == (4,)


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write_version_1(tmp_path)
    connection = sqlite3.connect(tmp_path / "agent.sqlite")
    connection.execute("ALTER TABLE jobs ADD COLUMN baseline_samples BLOB")  # in the way of the second step
    connection.close()
    with pytest.raises(StorageError, match="duplicate column"):
        Database(tmp_path / "agent.sqlite")
    connection = sqlite3.connect(tmp_path / "agent.sqlite")
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(jobs)")]
    assert "priority" not in columns
    assert connection.execute("SELECT COUNT(*) FROM jobs").fetchone() == (3,)
    connection.close()
