"""What the documents show exists: links, command lines and their options, JSON, messages."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import TypeAdapter
from typer.main import get_command

from device_agent import cli as agent_cli
from edge_s4op.artifact import Manifest
from edge_s4op.messages import MeasurementResult, MeasurementSettings
from tests.project import ROOT

DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_INLINE_COMMAND = re.compile(r"`((?:s4op|s4op-agent) [^`]+)`")
_FORBIDDEN = re.compile(r"\btodo\b|\bissue \d|/tmp/|/root/|/home/|file://", re.IGNORECASE)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _text(path), re.MULTILINE | re.DOTALL)


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _text(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def _command_lines(path: Path) -> Iterator[list[str]]:
    """Words of every `s4op ...` and `s4op-agent ...`, in shell blocks and in running text."""
    lines = [line for block in _blocks(path, "sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += [command for command in _INLINE_COMMAND.findall(_text(path)) if "..." not in command]
    for line in lines:
        if "s4op" in line.split(" ")[0]:
            words = shlex.split(line, comments=True)
            yield [words[0].rsplit("/", 1)[-1], *words[1:]]


def _cases(kind: str) -> list[object]:
    """(document, example) for every example of `kind`, named after both."""
    cases = []
    for path in DOCUMENTS:
        examples = _command_lines(path) if kind == "command" else iter(_blocks(path, kind))
        cases += [pytest.param(path, example, id=f"{path.stem}-{i}") for i, example in enumerate(examples)]
    return cases


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    for link in _LINK.findall(_text(path)):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        assert not anchor or anchor in _anchors(file), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_nothing_private_or_unfinished_is_told(path: Path) -> None:
    assert _FORBIDDEN.findall(_text(path)) == []


@pytest.mark.parametrize(("path", "words"), _cases("command"))
def test_a_command_line_parses(path: Path, words: list[str]) -> None:
    """Every option exists, has a value of its type, and nothing required is missing."""
    command, arguments = _command_of(words)
    if arguments or words[0] == "s4op-agent":  # "`s4op export` makes it" names a command and no more
        command.make_context(words[0], arguments)


@pytest.mark.parametrize(("path", "example"), _cases("json"))
def test_a_json_example_parses(path: Path, example: str) -> None:
    json.loads(example)


def test_the_messages_shown_are_messages() -> None:
    """A field that is renamed here and not there fails."""
    settings, result, *_ = [json.loads(block) for block in _blocks(ROOT / "docs/agent-api.md", "json")]
    assert settings == MeasurementSettings().model_dump()
    assert _fields(MeasurementResult, result) == set(MeasurementResult.model_fields)
    (manifest,) = [json.loads(block) for block in _blocks(ROOT / "docs/model-file.md", "json")]
    assert _fields(Manifest, manifest) == set(Manifest.model_fields)


def test_a_wrong_option_is_noticed() -> None:
    """This file's own check works."""
    command, arguments = _command_of(["s4op", "measure", "model.onnx", "--thread", "1"])
    with pytest.raises(Exception, match="--thread"):
        command.make_context("s4op", arguments)


def _command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The parser of a command line's command, and what that parser is given."""
    if words[0] == "s4op-agent":
        return get_command(agent_cli._app), words[1:]
    app = typer.Typer(add_completion=False)
    app.command(words[1])(getattr(import_module(f"host.cli.{words[1]}"), f"{words[1]}_command"))
    return get_command(app), words[2:]


def _fields(kind: type, value: dict[str, object]) -> set[str]:
    TypeAdapter(kind).validate_json(json.dumps(value))
    return set(value)
