"""A data folder that cannot be used is refused in one sentence, and left as it was."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from device_agent.agent import open_agent
from device_agent.settings import Settings
from edge_s4op.errors import StorageError


def refusal(folder: Path) -> str:
    with pytest.raises(StorageError) as caught:
        open_agent(Settings(data_dir=folder))
    assert "\n" not in str(caught.value)
    assert "--data-dir" in str(caught.value)
    return str(caught.value)


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot use the data folder" in refusal(tmp_path / "file")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/artifacts").write_text("")
    assert "artifacts" in refusal(tmp_path / "data")


def test_something_else_than_a_database(tmp_path: Path) -> None:
    content = b"no database at all, but long enough to be read as one" * 100
    (tmp_path / "agent.sqlite").write_bytes(content)
    assert "not a database" in refusal(tmp_path)
    assert (tmp_path / "agent.sqlite").read_bytes() == content


def test_a_database_of_another_version(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "agent.sqlite") as connection:
        connection.execute("PRAGMA user_version=99")
    said = refusal(tmp_path)
    assert re.search(r"another version of the agent; expected schema \d or earlier; found 99", said)


def test_a_refused_folder_can_be_repaired_and_opened_by_the_same_process(tmp_path: Path) -> None:
    (tmp_path / "agent.sqlite").write_bytes(b"?" * 5000)
    refusal(tmp_path)
    (tmp_path / "agent.sqlite").unlink()
    open_agent(Settings(data_dir=tmp_path)).close()


def test_another_agent_on_it(tmp_path: Path) -> None:
    agent = open_agent(Settings(data_dir=tmp_path))
    assert "used by another agent" in refusal(tmp_path)
    agent.close()
    open_agent(Settings(data_dir=tmp_path)).close()
