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
IMAGES = {
    "agent": DOCKER / "agent.Dockerfile",
    "agent-cpu": DOCKER / "agent-cpu.Dockerfile",
    "host": DOCKER / "host.Dockerfile",
}
EXTRAS = {"agent": "agent,jetson", "agent-cpu": "agent", "host": "host"}
HEADER = """#define NV_TENSORRT_MAJOR {} //!< TensorRT major version.
#define NV_TENSORRT_MINOR {} //!< TensorRT minor version.
"""
HEADER_11 = """#define TRT_MAJOR_ENTERPRISE {}
#define TRT_MINOR_ENTERPRISE {}
#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE //!< TensorRT major version.
"""


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
    script, venv, extras = step.split()[-3:]
    assert (ROOT / script).stat().st_mode & 0o111
    assert extras == EXTRAS[image]
    assert set(extras.split(",")) <= set(pyproject()["project"]["optional-dependencies"])
    assert f"COPY --from=build {venv} {venv}" in IMAGES[image].read_text()
    assert f"{script} " in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_starts_a_console_script_as_an_ordinary_user(image: str) -> None:
    (command,) = json.loads(instruction(image, "ENTRYPOINT")[0])
    assert command in pyproject()["project"]["scripts"]
    (user,) = instruction(image, "USER")
    assert user not in {"0", "root"}


@pytest.mark.parametrize("script", sorted(DOCKER.glob("*.sh")), ids=lambda path: path.name)
def test_a_script_passes_the_shells_own_check(script: Path) -> None:
    done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_images_install_is_sent_to_the_engine() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    needed = {"pyproject.toml", "constraints.txt", "docker/install.sh", "edge_s4op", "host", "device_agent"}
    needed |= {"Makefile", "trt_plugins", "docker/check_jetpack.sh"}
    assert needed <= sent
    assert all((ROOT / path).exists() for path in sent)


def test_compose_builds_these_images() -> None:
    builds = {name: service["build"] for name, service in compose()["services"].items()}
    found = {name: DOCKER / build["context"] / build["dockerfile"] for name, build in builds.items()}
    expected = {"agent": IMAGES["agent-cpu"], "host": IMAGES["host"]}
    assert {name: path.resolve() for name, path in found.items()} == expected


def test_the_host_waits_for_a_ready_agent_and_talks_to_it_by_name() -> None:
    services = compose()["services"]
    assert services["host"]["depends_on"] == {"agent": {"condition": "service_healthy"}}
    (check,) = instruction("agent-cpu", "HEALTHCHECK")
    arguments = json.loads(instruction("agent-cpu", "CMD")[0])
    port = arguments[arguments.index("--port") + 1]
    assert f"127.0.0.1:{port}/v2/health/ready" in check
    assert f"http://agent:{port}" in services["host"]["command"]


def test_the_agents_data_outlives_its_container() -> None:
    content = compose()
    arguments = json.loads(instruction("agent-cpu", "CMD")[0])
    (volume,) = content["services"]["agent"]["volumes"]
    name, folder = volume.split(":")
    assert name in content["volumes"]
    assert folder == arguments[arguments.index("--data-dir") + 1] == instruction("agent-cpu", "VOLUME")[0]


@pytest.mark.parametrize("image", ["agent", "agent-cpu"])
def test_an_agents_image_has_a_compiler_where_the_library_for_onnxruntime_is_built(image: str) -> None:
    steps = instruction(image, "RUN")
    compiler = next(i for i, step in enumerate(steps) if re.search(r"apt-get install .*\bg\+\+", step))
    assert compiler < next(i for i, step in enumerate(steps) if "install.sh" in step)


def test_the_jetson_image_builds_the_plugin_and_starts_with_tensorrt() -> None:
    steps = " ".join(instruction("agent", "RUN"))
    assert "make plugin" in steps
    assert "PATH=/usr/local/cuda/bin:$PATH SYSTEM_PACKAGES=1 docker/install.sh" in steps  # PyCUDA needs nvcc
    assert " python3-dev " in steps
    assert re.search(r"^plugin:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    (environment,) = instruction("agent", "ENV")
    assert "S4OP_TRT_PLUGIN=/opt/s4op/lib/libs4op_ssm_conv.so" in environment
    assert "--target-directory=/opt/s4op/lib build/trt_plugins/libs4op_ssm_conv.so" in steps
    assert json.loads(instruction("agent", "CMD")[0])[-2:] == ["--backend", "tensorrt"]
    (check,) = instruction("agent", "HEALTHCHECK")
    assert "/v2/health/ready" in check


def jetpack(root: Path, header: str, *, nvcc: bool, python: bool) -> subprocess.CompletedProcess[str]:
    """docker/check_jetpack.sh on a system made of these parts alone."""
    (root / "include").mkdir(parents=True)
    (root / "include/NvInferVersion.h").write_text(header)
    programs = root / "bin"
    programs.mkdir()
    for name in ("sed", "head", "uname", "ls"):
        (programs / name).symlink_to(str(shutil.which(name)))
    for name, there, output in (("nvcc", nvcc, ""), ("python3", python, "10.3.0")):
        (programs / name).write_text(f"#!/bin/sh\necho {output}\nexit {0 if there else 1}\n")
        (programs / name).chmod(0o755 if there or name == "python3" else 0o644)
    environment = {"PATH": str(programs), "TENSORRT_ROOT": str(root)}
    shell = str(shutil.which("sh"))
    script = [shell, str(DOCKER / "check_jetpack.sh")]
    return subprocess.run(script, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("header", "version"), [(HEADER.format(10, 3), "10.3"), (HEADER_11.format(11, 1), "11.1")]
)
def test_a_complete_jetpack_passes_the_check(tmp_path: Path, header: str, version: str) -> None:
    done = jetpack(tmp_path, header, nvcc=True, python=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"TensorRT {version}:" in done.stdout


@pytest.mark.parametrize("version", [(8, 6), (10, 0), (10, 2)])
def test_a_tensorrt_before_jetpack_6_1_is_named(tmp_path: Path, version: tuple[int, int]) -> None:
    done = jetpack(tmp_path, HEADER.format(*version), nvcc=True, python=True)
    assert done.returncode == 1
    assert f"found {version[0]}.{version[1]} in" in done.stderr


def test_a_missing_python_module_is_named_with_its_package(tmp_path: Path) -> None:
    done = jetpack(tmp_path, HEADER.format(10, 3), nvcc=True, python=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "missing: the Python module tensorrt; it comes with JetPack's package python3-libnvinfer"
    ]
