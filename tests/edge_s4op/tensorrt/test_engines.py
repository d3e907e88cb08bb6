"""Engines are built once, verified each time, and rebuilt when they are not what they were."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_s4op.artifact import Artifact, sha256_of
from edge_s4op.errors import BuildError, InferenceError, StorageError, UsageError
from edge_s4op.runtime import RunnerOptions, open_runner
from edge_s4op.runtime.tensorrt import engines, library
from edge_s4op.runtime.tensorrt.build import BUILDING
from edge_s4op.runtime.tensorrt.cuda import Gpu, gpu_facts
from edge_s4op.runtime.tensorrt.engines import WAITING, Engine, build_engine, discard
from edge_s4op.runtime.tensorrt.plugin import TF32_VARIABLE, VARIABLE, choose_plugin
from edge_s4op.runtime.tensorrt.records import BuildSpec, engine_key
from tests.edge_s4op import tiny

ARTIFACT = tiny.linear_artifact()


def build(folder: Path, **options: Any) -> tuple[Engine, list[str]]:
    """An engine and the stages seen on the way: none when it was found."""
    stages: list[str] = []
    chosen = RunnerOptions(engine_dir=folder, on_progress=lambda stage, _: stages.append(stage), **options)
    return build_engine(ARTIFACT, chosen, gpu_facts()), stages


@pytest.mark.usefixtures("trt")
def test_an_engine_is_built_once(tmp_path: Path):
    first, stages = build(tmp_path)
    assert stages[0] == "reading model"
    assert build(tmp_path) == (first, [])
    record = json.loads((tmp_path / f"{first.record.key}.json").read_text())
    assert record["engine_sha256"] == sha256_of((tmp_path / f"{first.record.key}.engine").read_bytes())
    assert record["spec"]["artifact_sha256"] == ARTIFACT.sha256
    assert record["spec"]["tensorrt"] == f"{library.name()} {library.version()}"
    assert not list(tmp_path.glob(".build-*"))
    assert len(list(tmp_path.glob("timing-*.cache"))) == 1


@pytest.mark.usefixtures("trt")
def test_another_batch_or_precision_is_another_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keys = {build(tmp_path)[0].record.key, build(tmp_path, batch=2)[0].record.key}
    monkeypatch.setenv(TF32_VARIABLE, "1")
    engine, _ = build(tmp_path)
    assert engine.record.spec.tf32
    assert len(keys | {engine.record.key}) == 3


@pytest.mark.parametrize("damage", ["torn engine", "torn record", "no engine"])
@pytest.mark.usefixtures("trt")
def test_a_damaged_engine_is_built_again(tmp_path: Path, damage: str):
    engine, _ = build(tmp_path)
    path = tmp_path / f"{engine.record.key}.{'json' if damage == 'torn record' else 'engine'}"
    path.unlink() if damage == "no engine" else path.write_bytes(path.read_bytes()[:-20])
    again, stages = build(tmp_path)
    assert stages
    assert again.record.key == engine.record.key
    assert build(tmp_path)[1] == []


@pytest.mark.usefixtures("trt")
def test_damaged_timings_stop_nothing(tmp_path: Path):
    build(tmp_path)
    (timings,) = tmp_path.glob("timing-*.cache")
    timings.write_bytes(b"not timings")
    build(tmp_path, batch=3)
    assert timings.read_bytes() != b"not timings"


@pytest.mark.usefixtures("trt")
def test_a_discarded_engine_is_built_again(tmp_path: Path):
    engine, _ = build(tmp_path)
    discard(engine, RunnerOptions(engine_dir=tmp_path))
    assert build(tmp_path)[1]


@pytest.mark.usefixtures("trt")
def test_a_full_folder_forgets_what_was_used_longest_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, second = build(tmp_path)[0], build(tmp_path, batch=2)[0]
    assert build(tmp_path)[1] == []  # used again
    room_for_two = round(2.5 * max(first.record.size_bytes, second.record.size_bytes))
    monkeypatch.setattr(engines, "MAX_FOLDER_BYTES", room_for_two)
    third = build(tmp_path, batch=3)[0]
    kept = {path.stem for path in tmp_path.glob("*.engine")}
    assert kept == {first.record.key, third.record.key} == {path.stem for path in tmp_path.glob("*.json")}


@pytest.mark.usefixtures("trt")
def test_what_a_dead_parent_left_is_removed(tmp_path: Path):
    (tmp_path / ".build-left").mkdir()
    (tmp_path / ".build-left" / "engine").write_bytes(b"half")
    build(tmp_path)
    assert not list(tmp_path.glob(".build-*"))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [({"build_timeout_s": 0.01}, "timeout"), ({"build_memory_bytes": 1 << 20}, "memory")],
)
@pytest.mark.usefixtures("trt")
def test_a_build_that_breaks_its_limits_leaves_nothing(tmp_path: Path, limits: dict[str, Any], reason: str):
    with pytest.raises(BuildError) as caught:
        build(tmp_path, **limits)
    assert caught.value.reason == reason
    assert ARTIFACT.sha256[:12] in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["build.lock"]
    build(tmp_path)  # and stops no later build


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
@pytest.mark.usefixtures("trt")
def test_a_build_that_is_killed_half_way_leaves_nothing(
    exported: Callable[[str], Artifact], tmp_path: Path, name: str
):
    stages: list[str] = []

    def kill(stage: str, _: float | None) -> None:
        if stage == BUILDING and BUILDING not in stages:
            os.kill(_builder_of(os.getpid()), getattr(signal, name))
        stages.append(stage)

    options = RunnerOptions(engine_dir=tmp_path, plugin=None, on_progress=kill)
    with pytest.raises(BuildError, match=name) as caught:
        build_engine(exported("s4"), options, gpu_facts())
    assert caught.value.reason == "crashed"
    assert [path.name for path in tmp_path.iterdir()] == ["build.lock"]
    build(tmp_path)


@pytest.mark.usefixtures("trt")
def test_a_build_can_be_cancelled(tmp_path: Path):
    with pytest.raises(BuildError) as caught:
        build(tmp_path, should_stop=lambda: True)
    assert caught.value.reason == "cancelled"


@pytest.mark.usefixtures("trt")
def test_one_build_at_a_time_and_who_waits_can_leave(tmp_path: Path):
    began, stop = threading.Event(), threading.Event()
    stages: list[str] = []

    def on_progress(stage: str, _: float | None) -> None:
        stages.append(stage)
        began.set()

    with _Holding(tmp_path):
        options = RunnerOptions(engine_dir=tmp_path, on_progress=on_progress, should_stop=stop.is_set)
        failures: list[BaseException] = []
        thread = threading.Thread(target=_collect, args=(failures, options))
        thread.start()
        assert began.wait(30)
        assert stages == [WAITING]
        stop.set()
        thread.join(30)
    assert isinstance(failures[0], BuildError)
    assert failures[0].reason == "cancelled"


@pytest.mark.usefixtures("trt")
def test_who_waited_takes_what_the_other_built(tmp_path: Path):
    together = threading.Barrier(2)
    found: list[tuple[Engine, list[str]]] = []

    def ask() -> None:
        together.wait(30)
        found.append(build(tmp_path))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (one, _), (other, _) = found
    assert one == other
    assert sum("reading model" in stages for _, stages in found) == 1


@pytest.mark.usefixtures("trt")
def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot keep engines in"):
        build(tmp_path / "file" / "engines")


@pytest.mark.usefixtures("trt")
def test_without_a_device_nothing_is_built_and_the_error_says_so(tmp_path: Path):
    if gpu_facts() is not None:
        pytest.skip("there is a CUDA device: a machine without one runs this")
    with pytest.raises(InferenceError, match="no CUDA device") as caught:
        open_runner(ARTIFACT, "tensorrt", options=RunnerOptions(engine_dir=tmp_path))
    assert "run this on the device" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_key_covers_all_that_an_engine_depends_on():
    spec = _spec()
    keys = [engine_key(spec)]
    for change in (
        {"artifact_sha256": "b" * 64},
        {"tensorrt": "tensorrt 10.4.0"},
        {"gpu": "Orin 8.8"},
        {"cuda": "12.7"},
        {"batch": 2},
        {"memory_bytes": 1 << 30},
        {"tf32": True},
        {"plugin_sha256": "d" * 64},
    ):
        keys.append(engine_key(spec.model_copy(update=change)))
    assert len(set(keys)) == len(keys)
    assert set(spec.model_dump()) == {
        *("format_version", "artifact_sha256", "tensorrt", "gpu", "cuda", "batch", "memory_bytes", "tf32"),
        *("plugin", "plugin_sha256"),
    }


def test_where_the_plugin_lies_does_not_matter():
    assert engine_key(_spec()) == engine_key(_spec().model_copy(update={"plugin": Path("/elsewhere.so")}))


@pytest.mark.usefixtures("trt")
def test_a_plugin_that_was_named_must_be_of_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    named = tmp_path / "plugin.so"
    with pytest.raises(UsageError, match=r"plugin\.so"):
        choose_plugin(named)
    if library.has_plugin_layers():
        named.write_bytes(b"")
        monkeypatch.setenv(VARIABLE, str(named))
        assert choose_plugin("auto").path == named
        assert choose_plugin(None).note == "built without the SSMConv plugin, as asked"
    else:
        assert "no plugin layers" in (choose_plugin("auto").note or "")


def _spec() -> BuildSpec:
    gpu = Gpu("Orin", "8.7", 8, 8 << 30, "12.6")
    return BuildSpec(
        artifact_sha256="a" * 64,
        tensorrt="tensorrt 10.3.0",
        gpu=f"{gpu.name} {gpu.compute_capability}",
        cuda=gpu.cuda,
        batch=1,
        memory_bytes=None,
        tf32=False,
        plugin=Path("/usr/local/lib/plugin.so"),
        plugin_sha256="c" * 64,
    )


def _builder_of(parent: int) -> int:
    """The process that builds for `parent`."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # a process of somebody else's that has just ended
            words = stat.read_text().rpartition(")")[2].split()
            if int(words[1]) == parent and b"tensorrt.build" in (stat.parent / "cmdline").read_bytes():
                return int(stat.parent.name)
    raise AssertionError("nothing is being built")


def _collect(failures: list[BaseException], options: RunnerOptions) -> None:
    try:
        build_engine(ARTIFACT, options, gpu_facts())
    except BuildError as error:
        failures.append(error)


class _Holding:
    """Another process that holds the folder's lock, as one that builds does."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._held, self._release = context.Event(), context.Event()
        self._process = context.Process(target=_hold, args=(folder, self._held, self._release))

    def __enter__(self) -> None:
        self._process.start()
        assert self._held.wait(30)

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self._process.join(30)


def _hold(folder: Path, held: Any, release: Any) -> None:
    import filelock

    with filelock.FileLock(folder / "build.lock"):
        held.set()
        release.wait(60)
