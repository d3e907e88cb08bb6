"""Certificates by the command: written, verified without an agent, and set beside a later measurement."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_s4op.artifact import write_artifact
from edge_s4op.messages import Certificate
from edge_s4op.profiler.certificate import read_certificate
from host.cli.main import run
from tests.device_agent.agent_helpers import AgentProcess, scaling_artifact
from tests.host.cli.cli_samples import NO_AGENT, Capture, fail, succeed, succeed_json
from tests.host.cli.test_cli_measure import FAST

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def measured(agent: AgentProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its certificate and its samples."""
    folder = tmp_path_factory.mktemp("certified")
    write_artifact(scaling_artifact(), folder / "m.onnx")
    files = ["--certificate", str(folder / "c.json"), "--samples", str(folder / "s.txt")]
    words = ["measure", folder / "m.onnx", "--agent", agent.url, *FAST, "--min-iterations", 40, *files]
    assert run([str(word) for word in words]) == 0
    return folder


@pytest.fixture
def changed(measured: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """A copy of the certificate with something changed in its JSON."""

    def copy(change: Change, *, with_digest: bool = False) -> Path:
        content = json.loads((measured / "c.json").read_text())
        change(content)
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(content))
        if with_digest:
            path.write_text(_with_digest(read_certificate(path.read_bytes())).to_json())
        return path

    return copy


def _with_digest(certificate: Certificate) -> Certificate:
    return certificate.model_copy(update={"digest": certificate.computed_digest()})


def test_a_certificate_holds_with_its_file_and_its_samples(capsys: Capture, measured: Path) -> None:
    everything = [measured / "m.onnx", "--samples", measured / "s.txt"]
    shown = succeed(capsys, "measure", *everything, "--verify", measured / "c.json", "--agent", NO_AGENT)
    assert "digest" in shown
    assert "failed" not in shown
    assert "not checked" not in shown


def test_what_is_not_given_is_not_checked(capsys: Capture, measured: Path) -> None:
    verified = succeed_json(capsys, "measure", "--verify", measured / "c.json")
    assert verified["passed"] is True
    outcomes = {check["name"]: check["outcome"] for check in verified["checks"]}
    assert outcomes["digest"] == "ok"
    assert outcomes["file"] == outcomes["samples"] == "not checked"


def _faster(content: dict[str, Any]) -> None:
    content["result"]["latency_ms"]["minimum"] /= 2


def test_a_changed_figure_fails_and_is_named(
    capsys: Capture, measured: Path, changed: Callable[..., Path]
) -> None:
    path = changed(_faster)
    assert run(["measure", "--verify", str(path)]) == 1
    out, err = capsys.readouterr()
    assert "failed" in out
    assert err.splitlines()[-1] == f"s4op: {path}: this certificate does not hold: digest failed"


def test_a_changed_figure_under_a_new_digest_is_found_by_the_samples(
    capsys: Capture, measured: Path, changed: Callable[..., Path]
) -> None:
    path = changed(_faster, with_digest=True)
    assert run(["measure", "--verify", str(path)]) == 0
    assert run(["measure", "--verify", str(path), "--samples", str(measured / "s.txt"), "--json"]) == 1
    out, _ = capsys.readouterr()
    verified = json.loads(out.splitlines()[-1])
    assert [c["name"] for c in verified["checks"] if c["outcome"] == "failed"] == ["statistics"]


def test_another_file_and_other_samples_fail(capsys: Capture, measured: Path, tmp_path: Path) -> None:
    write_artifact(scaling_artifact(3.0), tmp_path / "other.onnx")
    (tmp_path / "s.txt").write_text("1.0\n2.0\n")
    more = [tmp_path / "other.onnx", "--samples", tmp_path / "s.txt"]
    code = run([str(word) for word in ["measure", *more, "--verify", measured / "c.json"]])
    assert code == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("file, samples, statistics failed")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[]", "no certificate of a schema"),
        (b'{"schema_version": 2}', 'found "schema_version": 2'),
        (b'{"schema_version": 1}', "not valid at measurement_id"),
    ],
)
def test_what_is_no_certificate_is_named(
    capsys: Capture, tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(content)
    for option in ("--verify", "--against"):
        model = [] if option == "--verify" else [_model(tmp_path)]
        code, line = fail(capsys, "measure", *model, option, path, "--agent", NO_AGENT)
        assert code == 1
        assert str(path) in line
        assert expected in line


def _model(folder: Path) -> Path:
    write_artifact(scaling_artifact(), folder / "m.onnx")
    return folder / "m.onnx"


def test_files_that_are_not_there_are_named(capsys: Capture, measured: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for words in (
        ["--verify", missing],
        ["--verify", measured / "c.json", missing],
        ["--verify", measured / "c.json", "--samples", missing],
        ["--verify", measured],
    ):
        code, line = fail(capsys, "measure", *words)
        assert code == 1
        assert "cannot be read" in line


def test_samples_that_are_none_are_named_by_line(capsys: Capture, measured: Path, tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("1.0\nfast\n")
    code, line = fail(capsys, "measure", "--verify", measured / "c.json", "--samples", tmp_path / "s.txt")
    assert (code, "s.txt, line 2: not a latency" in line) == (1, True)


@pytest.mark.parametrize("option", ["--png", "--certificate", "--baseline", "--against"])
def test_verifying_goes_with_nothing_that_needs_a_measurement(
    capsys: Capture, measured: Path, option: str
) -> None:
    code, line = fail(capsys, "measure", "--verify", measured / "c.json", option, "x")
    assert (code, f"{option} does not go with it" in line) == (2, True)


def test_a_later_measurement_is_set_beside_an_earlier_one(
    capsys: Capture, measured: Path, agent: AgentProcess
) -> None:
    words = ["measure", measured / "m.onnx", "--agent", agent.url, *FAST, "--against", measured / "c.json"]
    against = succeed_json(capsys, *words)["against"]
    earlier = read_certificate((measured / "c.json").read_bytes()).result
    assert against["median_ms"] == earlier.latency_ms.median
    assert against["modes_differ"] == []
    shown = " ".join(succeed(capsys, *words, "--batch", 2).split())
    assert "then" in shown
    assert "The modes differ: batch 1 then, 2 now." in shown
    assert "--baseline runs both in turns" in shown


def _elsewhere(content: dict[str, Any]) -> None:
    """Of a device that another version described, whose fingerprint is a hash of other things."""
    content["agent_version"] = "0.0.1"
    content["device"] |= {"fingerprint": "e" * 64, "governor": "invented"}
    content["device"]["versions"]["edge-s4op"] = "0.0.1"
    content["result"]["device_fingerprint"] = "e" * 64


def test_a_measurement_of_another_device_is_refused_before_anything_is_measured(
    capsys: Capture, measured: Path, agent: AgentProcess, changed: Callable[..., Path]
) -> None:
    path = changed(_elsewhere, with_digest=True)
    words = ["measure", measured / "m.onnx", "--agent", agent.url, *FAST, "--against", path]
    code, line = fail(capsys, *words)
    assert code == 1
    assert f"not comparable with {path}" in line
    assert "invented" in line


def test_a_forged_certificate_is_nothing_to_compare_with(
    capsys: Capture, measured: Path, changed: Callable[..., Path]
) -> None:
    words = ["measure", measured / "m.onnx", "--agent", NO_AGENT, "--against", changed(_faster)]
    code, line = fail(capsys, *words)
    assert (code, "does not hold: digest failed" in line) == (1, True)
