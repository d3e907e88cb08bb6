"""A search that is killed, or loses its agent, ends in the family of an unbroken one."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_s4op.artifact import read_artifact
from edge_s4op.client import AgentClient, RetryPolicy
from edge_s4op.errors import AgentUnreachableError
from host.family import Family, Trial, read_family
from host.search import Placement, SearchProgress
from host.search.folder import RunFolder
from tests.forked import copies_of
from tests.host.search.search_samples import run_search, save_unpruned

ROOT = Path(__file__).parents[3]

# Where the search dies, one after the other: phase, and [rate, seed, epoch of fine-tuning].
DEATHS = [
    ("measured", [0.0, None, None]),
    ("measured", [0.3, 7, None]),
    ("fine-tune", [0.3, 42, 2]),
    ("finished", [0.6, 7, None]),
    ("test", [0.0, None, None]),
]


IMPATIENT = Placement(workers=1, agent_wait_s=0)


@contextlib.contextmanager
def agent_process(data_dir: Path, port: str = "0") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A real agent on a free port, or on `port`: its address and its process."""
    command = [sys.executable, "-m", "device_agent", "--port", port, "--data-dir", str(data_dir)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready.startswith("s4op-agent ready on http://"), ready
            yield ready.split()[-1], process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Family]:
    """A search nobody disturbs."""
    folder = tmp_path_factory.mktemp("unbroken")
    save_unpruned(folder / "unpruned")
    with agent_process(folder / "agent") as (url, _), AgentClient.connect(url) as agent:
        return folder, run_search(folder, agent)


def lasting(trial: Trial) -> dict[str, object]:
    """All of a trial but its times: those of another run are other numbers."""
    return trial.model_dump(exclude={"latency", "seconds"})


def weights(folder: Path, family: Family) -> dict[str, bytes]:
    return {
        name: (folder / "run" / path / "model.safetensors").read_bytes()
        for name, path in family.models.items()
    }


def assert_same_family(folder: Path, family: Family, unbroken: tuple[Path, Family]) -> None:
    other_folder, other = unbroken
    assert list(map(lasting, family.trials)) == list(map(lasting, other.trials))
    assert family.model_copy(update={"trials": ()}) == other.model_copy(update={"trials": ()})
    assert weights(folder, family) == weights(other_folder, other)


def test_a_search_killed_again_and_again_ends_in_the_same_family(
    tmp_path: Path, unbroken: tuple[Path, Family]
) -> None:
    save_unpruned(tmp_path / "unpruned")
    finished: list[int] = []
    with agent_process(tmp_path / "agent") as (url, _), AgentClient.connect(url) as agent:
        with copies_of("tests.host.search.search_samples") as copies:
            for phase, place in DEATHS:
                status, errors = copies.run(tmp_path, url, phase, place)
                assert status == -signal.SIGKILL, errors
                finished.append(len(RunFolder(tmp_path / "run").read_trials()))
        logged = RunFolder(tmp_path / "run").read_trials()
        events: list[SearchProgress] = []
        family = run_search(tmp_path, agent, resume=True, on_progress=events.append)
        measurements = len(agent.jobs())

    assert finished == [0, 1, 2, 4, 5]
    assert [event.phase for event in events] == ["skipped"] * 5 + ["test"] * 3
    assert_same_family(tmp_path, family, unbroken)
    assert measurements == 3, "each structure was measured once, whatever was killed"
    assert [trial.latency for trial in family.trials] == [trial.latency for trial in logged]


@pytest.mark.parametrize(("phase", "rate"), [("measure", 0.3), ("export", 0.6)])
def test_a_lost_agent_ends_the_search_which_goes_on_when_it_is_back(
    tmp_path: Path, unbroken: tuple[Path, Family], phase: str, rate: float
) -> None:
    save_unpruned(tmp_path / "unpruned")
    with agent_process(tmp_path / "agent") as (url, process):

        def unplug(progress: SearchProgress) -> None:
            if (progress.phase, progress.rate) == (phase, rate):
                process.kill()
                process.wait()

        impatient = AgentClient.connect(url, retry=RetryPolicy(retries=1, first_delay_s=0.01))
        with impatient, pytest.raises(AgentUnreachableError):
            run_search(tmp_path, impatient, placement=IMPATIENT, on_progress=unplug)
    saved = RunFolder(tmp_path / "run").read_trials()
    assert len(saved) == (1 if phase == "measure" else 3)

    with agent_process(tmp_path / "agent") as (url, _), AgentClient.connect(url) as agent:
        family = run_search(tmp_path, agent, resume=True)
    assert_same_family(tmp_path, family, unbroken)
    assert [trial.latency for trial in family.trials[: len(saved)]] == [t.latency for t in saved]


def test_a_lost_agent_is_waited_for(tmp_path: Path, unbroken: tuple[Path, Family]) -> None:
    save_unpruned(tmp_path / "unpruned")
    waited: list[str | None] = []
    with contextlib.ExitStack() as agents:
        url, process = agents.enter_context(agent_process(tmp_path / "agent"))

        def unplug_and_plug_in(progress: SearchProgress) -> None:
            if (progress.phase, progress.rate) == ("measure", 0.3) and not waited:
                process.kill()
                process.wait()
            if progress.phase == "waiting":
                waited.append(progress.error)
                agents.enter_context(agent_process(tmp_path / "agent", url.rpartition(":")[2]))

        patient = Placement(workers=1, agent_wait_s=60, ask_every_s=0.1)
        with AgentClient.connect(url, retry=RetryPolicy(retries=0)) as agent:
            family = run_search(tmp_path, agent, placement=patient, on_progress=unplug_and_plug_in)
    assert len(waited) == 1
    assert url in (waited[0] or "")
    assert_same_family(tmp_path, family, unbroken)


def test_ctrl_c_leaves_a_usable_family_that_resuming_completes(
    tmp_path: Path, unbroken: tuple[Path, Family]
) -> None:
    save_unpruned(tmp_path / "unpruned")

    def stop(progress: SearchProgress) -> None:
        if (progress.phase, progress.rate) == ("fine-tune", 0.6):
            raise KeyboardInterrupt

    with agent_process(tmp_path / "agent") as (url, _), AgentClient.connect(url) as agent:
        with pytest.raises(KeyboardInterrupt):
            run_search(tmp_path, agent, on_progress=stop)
        partial = read_family(tmp_path / "run")
        family = run_search(tmp_path, agent, resume=True)
    assert not partial.complete
    assert [trial.stage for trial in partial.kept()] == ["unpruned", "rate-0.30"]
    for name in partial.models:
        assert read_artifact(tmp_path / "run" / partial.models[name] / "model.onnx").manifest.accuracy
    assert_same_family(tmp_path, family, unbroken)
