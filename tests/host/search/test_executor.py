import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge_s4op.errors import CheckpointError, S4opError, StorageError, UnknownNameError, UsageError
from host.models.classifier import Classifier
from host.pruning.gradual import gradual_masks
from host.pruning.plan import PrunePlan
from host.search.executor import InlineExecutor, open_executor
from host.search.executor_task import Failure, Teacher, TuneTask, packed, tune
from host.training import TrainConfig, latest_progress, train
from host.training.snapshot import read_snapshot
from tests.host.training.training_samples import classifier, dataset

ROOT = Path(__file__).parents[3]
DATA = dataset()
TRAINING = TrainConfig(epochs=4, batch_size=4, lr=1e-2, device="cpu", seed=3)
FULL = PrunePlan.full((4, 4))
PLAN = PrunePlan((4, 4), ((0, 2), (1,)))
SCORES = [torch.arange(4.0).numpy()] * 2
DIVERGING = TRAINING.model_copy(update={"lr": 1e25, "clip_norm": None, "warmup_fraction": 0.0})
LONG = TRAINING.model_copy(update={"epochs": 100_000})


def task(seed: int = 3, **changes: object) -> TuneTask:
    """A candidate with everything: dropout, a teacher, gradual masks."""
    model = classifier(seed=seed, dropout=0.2)
    model.set_kept_operators(PLAN.kept)
    training = TRAINING.model_copy(update={"seed": seed})
    teacher = Teacher(packed(classifier(seed=9)))
    plain = TuneTask(f"rate 0.6, seed {seed}", packed(model), training, teacher)
    return replace(plain, gradual=gradual_masks(FULL, PLAN, SCORES), **changes)


def ray_or_skip() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'edge-s4op[ray]'")


@pytest.fixture(scope="module")
def processes():
    with open_executor("processes", DATA, workers=2, threads=1) as executor:
        yield executor


@pytest.fixture(scope="module")
def ray():
    ray_or_skip()
    with open_executor("ray", DATA, workers=2, threads=1) as executor:
        yield executor


@pytest.fixture(params=["processes", "ray"])
def executor(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_equal(model: Classifier, other: Classifier) -> None:
    state = other.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def figures(tuned) -> list[dict[str, object]]:
    return [record.model_dump(exclude={"seconds"}) for record in tuned.result.history]


def test_every_executor_gives_the_same_models_bit_for_bit(executor):
    tasks = [task(seed) for seed in (3, 4, 5)]
    with open_executor("inline", DATA) as inline:
        expected = [inline.submit(one).result() for one in tasks]
    for future, wanted in zip([executor.submit(one) for one in tasks], expected, strict=True):
        found = future.result(timeout=120)
        assert_equal(found.restore(), wanted.restore())
        assert figures(found) == figures(wanted)
        assert found.restore().kept_operators() == PLAN.kept


def test_inline_is_training_here_and_leaves_the_callers_random_numbers():
    outer, seen = torch.get_rng_state(), []
    found = InlineExecutor(DATA).submit(task(teacher=None), seen.append).result()
    assert torch.equal(torch.get_rng_state(), outer)
    model = classifier(seed=3, dropout=0.2)
    result = train(model, DATA, TRAINING, on_step=gradual_masks(FULL, PLAN, SCORES))
    assert_equal(found.restore(), model)
    assert (len(seen), result.best_epoch) == (4 * (6 + 1), found.result.best_epoch)
    assert not found.restore().training


def test_a_task_that_diverges_says_so_and_the_executor_goes_on(executor):
    failed = executor.submit(task(training=DIVERGING))
    with pytest.raises(S4opError, match=r"training stopped: the loss is (nan|inf) at epoch 1") as caught:
        failed.result(timeout=120)
    assert type(caught.value) is S4opError
    assert caught.value.expected == "a finite number"
    assert executor.submit(task()).result(timeout=120).result.epochs_run == 4


def test_errors_keep_their_type(executor, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        executor.submit(task(run_dir=tmp_path / "file")).result(timeout=120)
    executor.submit(task(run_dir=tmp_path / "run")).result(timeout=120)
    other = replace(task().teacher, temperature=3.0)
    with pytest.raises(CheckpointError, match=r"objective.temperature differ"):
        executor.submit(task(run_dir=tmp_path / "run", teacher=other)).result(timeout=120)


@pytest.mark.parametrize(
    "error",
    [
        UnknownNameError("criterion", "rnadom", ["random"]),
        CheckpointError("here", expected=1, found=[2], fix="that"),
        ZeroDivisionError("by", 0),
    ],
)
def test_a_failure_is_the_same_error_on_the_other_side(error):
    copy = Failure(type(error), error.args, dict(error.__dict__), "line 1").error()
    assert (type(copy), str(copy), copy.__dict__) == (type(error), str(error), error.__dict__)
    assert "line 1" in str(copy.__cause__)


def test_a_task_continues_what_an_earlier_one_had_saved(executor, tmp_path):
    whole, begun = task(), task(run_dir=tmp_path)

    def interrupt(progress):
        if (progress.epoch, progress.step) == (3, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(begun, DATA, interrupt)
    assert latest_progress(tmp_path).epoch == 2
    assert_equal(executor.submit(begun).result(timeout=120).restore(), tune(whole, DATA).restore())
    assert latest_progress(tmp_path).epoch == 4


def started(run_dir: Path, *, epoch: int = 2, timeout_s: float = 60.0) -> None:
    """Wait for a task's second (or another) epoch in the log: the first is in a snapshot then."""
    deadline = time.monotonic() + timeout_s
    while (latest := latest_progress(run_dir)) is None or latest.epoch < epoch:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children_of(pid: int) -> set[int]:
    path = Path(f"/proc/{pid}/task")
    if not path.exists():
        pytest.skip("needs Linux's /proc")
    children: set[int] = set()
    for thread in path.iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            children |= set(map(int, (thread / "children").read_text().split()))
    return children


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def spawned() -> set[int]:
    return {pid for pid in children_of(os.getpid()) if "spawn_main" in command_of(pid)}


def test_a_killed_process_is_its_own_candidates_failure_only(tmp_path):
    with open_executor("processes", DATA, workers=2, threads=1) as executor:
        before = spawned()
        doomed = executor.submit(replace(task(run_dir=tmp_path / "a", training=LONG), name="doomed"))
        started(tmp_path / "a")
        (victim,) = spawned() - before
        other = executor.submit(task(run_dir=tmp_path / "b"))
        started(tmp_path / "b")
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(
            S4opError, match=r"candidate doomed: the process .*killed by SIGKILL.*fewer workers"
        ):
            doomed.result(timeout=60)
        assert other.result(timeout=60).result.epochs_run == 4
        assert read_snapshot(tmp_path / "a").state.history
        again = [executor.submit(task(seed)) for seed in (3, 4)]
        assert [future.result(timeout=60).result.epochs_run for future in again] == [4, 4]


def test_closing_ends_running_tasks_at_once_and_keeps_their_snapshots(tmp_path):
    before = spawned()
    with open_executor("processes", DATA, workers=2, threads=1) as executor:
        running = executor.submit(task(run_dir=tmp_path / "a", training=LONG))
        also = executor.submit(task(run_dir=tmp_path / "b", training=LONG))
        waiting = executor.submit(task(run_dir=tmp_path / "c"))
        started(tmp_path / "a")
        start = time.monotonic()
    assert time.monotonic() - start < 10
    assert waiting.cancelled()
    for future in (running, also):
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(timeout=5)
    assert read_snapshot(tmp_path / "a").state.history
    assert spawned() <= before


PARENT = """
import sys
from pathlib import Path
from host.search.executor import open_executor
from tests.host.search.test_executor import DATA, LONG, task

if __name__ == "__main__":
    with open_executor("processes", DATA, workers=2, threads=1) as executor:
        executor.submit(task(run_dir=Path(sys.argv[1]), training=LONG)).result()
"""


def kill_group(group):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_asked(request, tmp_path, number):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, script, tmp_path / "run"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    request.addfinalizer(lambda: kill_group(parent.pid))
    started(tmp_path / "run")
    workers = {pid for pid in children_of(parent.pid) if "spawn_main" in command_of(pid)}
    assert workers
    if number == signal.SIGINT:
        for pid in workers:
            os.kill(pid, number)  # it is for the parent to end them
        started(tmp_path / "run", epoch=latest_progress(tmp_path / "run").epoch + 3)
        os.killpg(parent.pid, number)  # as Ctrl-C in a terminal: to every process of the group
    else:
        os.kill(parent.pid, number)
    _, output = parent.communicate(timeout=30)
    assert output.count("Traceback") == (1 if number == signal.SIGINT else 0)  # the parent's only
    deadline = time.monotonic() + 10
    while any("spawn_main" in command_of(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert read_snapshot(tmp_path / "run").state.history


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.replace('if __name__ == "__main__":', "if True:"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, tmp_path / "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "candidate rate 0.6, seed 3: no process could be started" in done.stderr
    assert 'if __name__ == "__main__"' in done.stderr


def test_one_worker_needs_no_process():
    assert isinstance(open_executor("processes", DATA, workers=1), InlineExecutor)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("rya", {}, "unknown executor 'rya'.*did you mean ray"),
        ("processes", {"workers": 0}, "too few workers; expected at least 1; found 0"),
        ("ray", {"threads": -1}, "too few threads"),
        ("processes", {"address": "a:1"}, "executor 'processes' has no address"),
    ],
)
def test_bad_requests_are_refused_before_anything_starts(name, settings, message):
    with pytest.raises(UsageError, match=message):
        open_executor(name, DATA, **settings)
