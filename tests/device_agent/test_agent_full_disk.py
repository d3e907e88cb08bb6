"""A disk that is really full: a small tmpfs. Needs the right to mount one."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edge_s4op.client import AgentClient
from edge_s4op.messages import MeasurementRequest
from tests.device_agent.agent_helpers import agent_process, scaling_artifact


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"cannot mount a tmpfs: {error}")
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room left."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path


def test_an_upload_to_a_full_disk_is_507_and_succeeds_once_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    artifact = scaling_artifact(padding=1 << 18)
    with (
        agent_process(small_disk / "data", log_path=tmp_path / "log") as agent,
        httpx.Client(base_url=agent.url, trust_env=False) as http,
    ):
        filler = fill(small_disk)
        answer = http.put(f"/v1/artifacts/{artifact.sha256}", content=artifact.content)
        assert answer.status_code == 507
        assert list((small_disk / "data/artifacts").iterdir()) == []
        filler.unlink()
        answer = http.put(f"/v1/artifacts/{artifact.sha256}", content=artifact.content)
        assert answer.status_code == 201


def test_a_result_waits_for_room_on_the_disk(small_disk: Path, tmp_path: Path) -> None:
    artifact = scaling_artifact()
    request = MeasurementRequest(
        artifact_sha256=artifact.sha256, warmup_ms=1500, max_duration_ms=300, min_iterations=20_000
    )
    with (
        agent_process(small_disk / "data", log_path=tmp_path / "log") as agent,
        AgentClient.connect(agent.url) as client,
    ):
        client.put_artifact(artifact)
        job = client.submit(request)
        while client.job(job.id).state == "queued":
            time.sleep(0.02)
        filler = fill(small_disk)
        refused = httpx.post(
            f"{agent.url}/v1/measurements", content=request.model_dump_json(), trust_env=False
        )
        deadline = time.monotonic() + 15
        while "trying again" not in agent.log and time.monotonic() < deadline:
            time.sleep(0.05)
        waiting = client.job(job.id)
        filler.unlink()
        ended = client.wait(job.id, timeout_s=15)
    assert refused.status_code == 507
    assert waiting.state == "running"
    assert ended.state == "succeeded"
    assert ended.result.iterations >= 20_000
