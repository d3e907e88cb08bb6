"""The command line itself: help, exit codes, one line for a failure."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from edge_s4op import __version__
from edge_s4op.errors import UnknownNameError
from host.cli import train
from host.cli.main import COMMANDS, run
from tests.host.cli.cli_samples import Capture, fail, succeed


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command_with_its_summary(capsys: Capture, arguments: list[str]) -> None:
    shown = " ".join(succeed(capsys, *arguments).split())
    for name, summary in COMMANDS.items():
        assert f"{name} {summary}" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(capsys: Capture, name: str) -> None:
    command = getattr(import_module(f"host.cli.{name}"), f"{name}_command")
    assert inspect.getdoc(command).splitlines()[0] == COMMANDS[name]
    shown = succeed(capsys, name, "--help")
    assert COMMANDS[name] in shown
    assert name == "demo" or f"Example: s4op {name} " in shown


def test_help_comes_without_loading_what_commands_need() -> None:
    code = (
        "import sys; from host.cli.main import run; run(['--help']);"
        "sys.exit(' '.join({'torch', 'matplotlib', 'aeon'} & set(sys.modules)) or 0)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 5  # 0.1 s where nothing else runs


def test_the_version_is_printed(capsys: Capture) -> None:
    assert succeed(capsys, "--version") == f"s4op {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "s4op: No such command 'trian'. Did you mean 'train'? See `s4op --help`."),
        (["train"], "s4op train: Missing argument 'dataset'"),
        (["train", "ucr:GunPoint"], "s4op train: Missing option '--out'"),
        (["train", "x", "--out", "y", "--epocs", "3"], "--epocs"),
        (["train", "x", "--out", "y", "--epochs", "many"], "s4op train: Invalid value for '--epochs'"),
        (["prune", "x"], "See `s4op prune --help`."),
        (["infer", "x", "--dataset", "a", "--file", "b"], "exactly one of --dataset and --file"),
        (["infer", "x"], "exactly one of --dataset and --file"),
        (["measure", "x", "--debug", "--agnt", "y"], "--agnt"),
    ],
)
def test_bad_use_is_one_line_and_2(capsys: Capture, arguments: list[str], expected: str) -> None:
    code, line = fail(capsys, *arguments)
    assert code == 2
    assert expected in line


@pytest.mark.parametrize("place", [0, 4])
def test_debug_shows_the_traceback_wherever_it_stands(place: int, tmp_path: Path) -> None:
    arguments = ["train", "urc:GunPoint", "--out", str(tmp_path)]
    arguments.insert(place, "--debug")
    with pytest.raises(UnknownNameError):
        run(arguments)


def test_ctrl_c_is_130(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "checked", _interrupt)
    code, line = fail(capsys, "train", "ucr:GunPoint", "--out", "x")
    assert (code, line) == (130, "s4op: interrupted")


def test_a_defect_is_one_line_too(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "checked", json.loads)
    code, line = fail(capsys, "train", "ucr:GunPoint", "--out", "x")
    assert code == 1
    assert line.startswith("s4op: TypeError: ")
    assert "--debug" in line


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
