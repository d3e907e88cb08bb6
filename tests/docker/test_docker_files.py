"""No engine runs where the tests run, so the images' files are linted and held against pyproject.toml."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.project import ROOT, pyproject

DOCKER = ROOT / "docker"
IMAGES = {"agent": DOCKER / "agent.Dockerfile", "host": DOCKER / "host.Dockerfile"}


def instruction(image: str, name: str) -> list[str]:
    """Arguments of every `name` instruction of an image, continued lines joined."""
    text = IMAGES[image].read_text().replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)


def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="pyyaml (extra dev) is not installed")
    content: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return content


def test_every_dockerfile_is_tested() -> None:
    assert sorted(DOCKER.glob("*Dockerfile*")) == sorted(IMAGES.values())


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_finds_nothing(image: str) -> None:
    beside_python = Path(sys.executable).parent
    hadolint = shutil.which("hadolint", path=beside_python) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint (extra dev) is not installed")
    done = subprocess.run([hadolint, str(IMAGES[image])], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_installs_its_extra_with_the_shared_script(image: str) -> None:
    (step,) = [run for run in instruction(image, "RUN") if "install.sh" in run]
    script, venv, extra = step.split()
    assert (ROOT / script).stat().st_mode & 0o111
    assert extra == image
    assert extra in pyproject()["project"]["optional-dependencies"]
    assert f"COPY --from=build {venv} {venv}" in IMAGES[image].read_text()
    assert f"{script} " in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_starts_a_console_script_as_an_ordinary_user(image: str) -> None:
    (command,) = json.loads(instruction(image, "ENTRYPOINT")[0])
    assert command in pyproject()["project"]["scripts"]
    (user,) = instruction(image, "USER")
    assert user not in {"0", "root"}


def test_the_script_passes_the_shells_own_check() -> None:
    done = subprocess.run(["sh", "-n", str(DOCKER / "install.sh")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_images_install_is_sent_to_the_engine() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    needed = {"pyproject.toml", "constraints.txt", "docker/install.sh", "edge_s4op", "host", "device_agent"}
    assert needed <= sent
    assert all((ROOT / path).exists() for path in sent)


def test_compose_builds_these_images() -> None:
    builds = {name: service["build"] for name, service in compose()["services"].items()}
    found = {name: DOCKER / build["context"] / build["dockerfile"] for name, build in builds.items()}
    assert {name: path.resolve() for name, path in found.items()} == IMAGES


def test_the_host_waits_for_a_ready_agent_and_talks_to_it_by_name() -> None:
    services = compose()["services"]
    assert services["host"]["depends_on"] == {"agent": {"condition": "service_healthy"}}
    (check,) = instruction("agent", "HEALTHCHECK")
    arguments = json.loads(instruction("agent", "CMD")[0])
    port = arguments[arguments.index("--port") + 1]
    assert f"127.0.0.1:{port}/v2/health/ready" in check
    assert f"http://agent:{port}" in services["host"]["command"]


def test_the_agents_data_outlives_its_container() -> None:
    content = compose()
    arguments = json.loads(instruction("agent", "CMD")[0])
    (volume,) = content["services"]["agent"]["volumes"]
    name, folder = volume.split(":")
    assert name in content["volumes"]
    assert folder == arguments[arguments.index("--data-dir") + 1] == instruction("agent", "VOLUME")[0]
