"""Engines on disk: found by key, or built in a child process, one at a time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
from pydantic import ValidationError

from edge_s4op.artifact import Artifact, sha256_of
from edge_s4op.errors import BuildError, StorageError
from edge_s4op.files import sha256_of_file, write_bytes, write_text
from edge_s4op.runtime.options import DEFAULT_ENGINE_DIR, RunnerOptions
from edge_s4op.runtime.tensorrt import library
from edge_s4op.runtime.tensorrt.build import ENGINE_FILE, MODEL_FILE, SPEC_FILE, TIMING_FILE
from edge_s4op.runtime.tensorrt.child import Limits, python_command, run_child
from edge_s4op.runtime.tensorrt.cuda import Gpu
from edge_s4op.runtime.tensorrt.plugin import TF32_VARIABLE, PluginChoice, choose_plugin
from edge_s4op.runtime.tensorrt.records import BuildSpec, EngineRecord, engine_key

__all__ = ["MAX_FOLDER_BYTES", "WAITING", "Engine", "build_engine", "discard", "engine_dir_of"]

WAITING = "waiting for another build"
MAX_FOLDER_BYTES = 4 << 30  # a search measures hundreds of models, each an engine of megabytes

_LOCK_FILE, _SCRATCH = "build.lock", ".build-"
_POLL_S = 0.1

_log = logging.getLogger("edge_s4op.tensorrt")


@dataclass(frozen=True)
class Engine:
    """A serialized engine whose hash was checked, and its record."""

    content: bytes
    record: EngineRecord


def build_engine(artifact: Artifact, options: RunnerOptions, gpu: Gpu | None) -> Engine:
    """The engine of `artifact` for `gpu`: from the folder, else (or with `options.rebuild`) built there.

    One build runs at a time in a folder, whichever process asks; who waits is told by `on_progress`
    and does not use up its `build_timeout_s`. Raises BuildError, StorageError, UsageError (plugin).
    """
    choice = _choice(artifact, options)
    spec = _spec(artifact, options, choice, gpu)
    folder = engine_dir_of(options)
    if options.rebuild:
        with _alone(folder, options):
            return _build(folder, artifact, spec, choice.note, options)
    found = _read(folder, engine_key(spec))
    if found is not None:
        return found
    with _alone(folder, options):
        return _read(folder, engine_key(spec)) or _build(folder, artifact, spec, choice.note, options)


def discard(engine: Engine, options: RunnerOptions) -> None:
    """Forget an engine that TensorRT does not load, so that the next call builds it anew."""
    for path in _paths(engine_dir_of(options), engine.record.key):
        path.unlink(missing_ok=True)


def engine_dir_of(options: RunnerOptions) -> Path:
    """The folder of these options."""
    return (options.engine_dir or DEFAULT_ENGINE_DIR).expanduser().absolute()


def _choice(artifact: Artifact, options: RunnerOptions) -> PluginChoice:
    if not artifact.manifest.kept_operators:  # nothing the plugin could do
        return PluginChoice(None, None)
    choice = choose_plugin(options.plugin)
    if choice.path is not None:
        return choice
    return PluginChoice(None, f"{choice.note}; SSMConv runs as standard operators")


def _spec(artifact: Artifact, options: RunnerOptions, choice: PluginChoice, gpu: Gpu | None) -> BuildSpec:
    return BuildSpec(
        artifact_sha256=artifact.sha256,
        tensorrt=f"{library.name()} {library.version()}",
        gpu="none" if gpu is None else f"{gpu.name} {gpu.compute_capability}",
        cuda="none" if gpu is None else gpu.cuda,
        batch=options.batch,
        memory_bytes=options.build_memory_bytes,
        tf32=os.environ.get(TF32_VARIABLE) == "1",
        plugin=choice.path,
        plugin_sha256=None if choice.path is None else sha256_of_file(choice.path),
    )


def _paths(folder: Path, key: str) -> tuple[Path, Path]:
    """The record, then the engine; an engine without a record does not exist."""
    return folder / f"{key}.json", folder / f"{key}.engine"


def _read(folder: Path, key: str) -> Engine | None:
    """The engine of that key; None if there is none or it is not what its record says."""
    record_path, engine_path = _paths(folder, key)
    try:
        record = EngineRecord.model_validate_json(record_path.read_bytes())
        content = engine_path.read_bytes()
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _log.warning("engine %s: cannot be read, building it again: %s", key[:12], error)
        return None
    if record.key != key or sha256_of(content) != record.engine_sha256:
        _log.warning("engine %s: the file is not what its record says, building it again", key[:12])
        return None
    with contextlib.suppress(OSError):  # a folder that is only read, as in an image, never runs full
        os.utime(engine_path)  # the least recently used go first
    return Engine(content, record)


@contextlib.contextmanager
def _alone(folder: Path, options: RunnerOptions) -> Iterator[None]:
    """Hold the folder's lock; what the system refuses in the meantime is a StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / _LOCK_FILE)
        _acquire(lock, options)
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        raise StorageError(
            f"cannot keep engines in {folder}: {error.strerror or error}",
            fix="free some space or choose another folder for engines",
        ) from error


def _acquire(lock: filelock.BaseFileLock, options: RunnerOptions) -> None:
    """Wait for the lock as long as `should_stop` allows."""
    if not _acquired(lock) and options.on_progress is not None:
        options.on_progress(WAITING, None)
    while not lock.is_locked and not _acquired(lock):
        if options.should_stop is not None and options.should_stop():
            raise BuildError(f"{WAITING}: cancelled", reason="cancelled")
        time.sleep(_POLL_S)


def _acquired(lock: filelock.BaseFileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    return True


def _build(
    folder: Path, artifact: Artifact, spec: BuildSpec, note: str | None, options: RunnerOptions
) -> Engine:
    for stale in folder.glob(f"{_SCRATCH}*"):  # left by a parent that died: nobody else builds now
        shutil.rmtree(stale, ignore_errors=True)
    timing = folder / f"timing-{_timing_key(spec)}.cache"
    with tempfile.TemporaryDirectory(dir=folder, prefix=_SCRATCH) as name:
        scratch = Path(name)
        write_bytes(scratch / MODEL_FILE, artifact.content)
        write_text(scratch / SPEC_FILE, spec.model_dump_json())
        if timing.is_file() and not options.rebuild:  # what varies from build to build is what TensorRT timed
            shutil.copyfile(timing, scratch / TIMING_FILE)
        result = run_child(
            python_command("edge_s4op.runtime.tensorrt.build", str(scratch)),
            Limits(options.build_timeout_s, options.build_memory_bytes),
            what=f"building an engine of artifact {artifact.sha256[:12]}",
            on_progress=options.on_progress,
            should_stop=options.should_stop,
        )
        content = (scratch / ENGINE_FILE).read_bytes()
        record = EngineRecord(
            key=engine_key(spec),
            spec=spec,
            engine_sha256=sha256_of(content),
            size_bytes=len(content),
            note=note,
            **result,
        )
        return _keep(folder, Engine(content, record), scratch, timing)


def _keep(folder: Path, engine: Engine, scratch: Path, timing: Path) -> Engine:
    record_path, engine_path = _paths(folder, engine.record.key)
    record_path.unlink(missing_ok=True)
    write_bytes(engine_path, engine.content)
    write_text(record_path, json.dumps(engine.record.model_dump(mode="json"), indent=2) + "\n")
    os.replace(scratch / TIMING_FILE, timing)
    _make_room(folder, engine_path)
    return engine


def _make_room(folder: Path, newest: Path) -> None:
    """Forget the least recently used engines while all of them take more than MAX_FOLDER_BYTES."""
    engines = {path: path.stat() for path in folder.glob("*.engine") if path != newest}
    total = newest.stat().st_size + sum(stat.st_size for stat in engines.values())
    for path in sorted(engines, key=lambda path: engines[path].st_mtime_ns):
        if total <= MAX_FOLDER_BYTES:
            return
        total -= engines[path].st_size
        for gone in _paths(folder, path.stem):
            gone.unlink(missing_ok=True)


def _timing_key(spec: BuildSpec) -> str:
    """Timings hold for one TensorRT on one GPU; tactics of our plugin carry their own hash within."""
    return sha256_of("\n".join((spec.tensorrt, spec.gpu, spec.cuda)).encode())[:16]
