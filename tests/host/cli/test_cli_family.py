"""`s4op deploy --family`: every model a search kept under one name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_s4op.client import AgentClient
from host.family import read_family
from tests.device_agent.agent_helpers import AgentProcess
from tests.host.cli.cli_samples import Capture, fail, succeed, succeed_json


def test_a_family_is_served_with_its_accuracies_and_answers(
    capsys: Capture, spec: str, family: Path, agent: AgentProcess
) -> None:
    options = ["--objective-p99-ms", 10_000, "--temperature-limit-c", 95, "--agent", agent.url]
    served = succeed_json(capsys, "deploy", "--family", family, "--name", "whole", *options)
    kept = {trial.model: trial.validation_accuracy for trial in read_family(family).kept()}
    assert {each["name"]: each["accuracy"] for each in served["variants"]} == kept
    assert all(each["ready"] for each in served["variants"])
    assert served["variants"][0]["accuracy"] == max(kept.values())
    assert served["current"] == served["variants"][0]["name"]
    assert served["serving"]["policy"]["temperature_limit_c"] == 95
    answered = succeed_json(capsys, "infer", "whole", "--dataset", spec, "--agent", agent.url)
    assert answered["samples"] == 8
    with AgentClient.connect(agent.url) as client:
        assert client.pin("whole", "keep-0.40").current == "keep-0.40"
        assert [each.name for each in client.families()] == ["whole"]
        client.unserve_family("whole")
        assert client.families() == []


def test_what_is_served_is_said(capsys: Capture, family: Path, agent: AgentProcess) -> None:
    options = ["--name", "said", "--objective-p50-ms", 10_000, "--agent", agent.url]
    succeed(capsys, "deploy", "--family", family / "family.json", *options)
    with AgentClient.connect(agent.url) as client:
        assert client.family("said").serving.objective.p50_ms == 10_000
        client.unserve_family("said")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--family", "F"], "--objective-p99-ms or --objective-p50-ms"),
        (["--family", "F", "--objective-p99-ms", 1, "--objective-p50-ms", 1], "either p99_ms or p50_ms"),
        (["--family", "F", "--objective-p99-ms", -1], "p99-ms"),
        (["F", "--family", "F", "--objective-p99-ms", 1], "no MODEL"),
        (["F", "--objective-p99-ms", 1], "belongs to --family"),
        ([], "MODEL, or --family FOLDER"),
    ],
)
def test_options_that_do_not_go_together(
    capsys: Capture, family: Path, options: list[object], text: str
) -> None:
    given = [family if option == "F" else option for option in options]
    assert text in fail(capsys, "deploy", "--name", "x", *given)[1]


def test_a_folder_without_a_family_is_refused(capsys: Capture, tmp_path: Path) -> None:
    options = ["--name", "x", "--objective-p99-ms", 1]
    assert "family.json" in fail(capsys, "deploy", "--family", tmp_path, *options)[1]
