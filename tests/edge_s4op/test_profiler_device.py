"""Device facts come from Linux's files; nothing missing or forbidden makes them fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import edge_s4op
from edge_s4op.profiler import device_facts
from edge_s4op.runtime import available_backends

BACKENDS = {"onnxruntime": "1.20.0"}

ARM_CORE = (
    "processor\t: {}\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nCPU implementer\t: 0x41\nCPU part\t: {}\n"
)
JETSON = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/cpuinfo": "\n".join(ARM_CORE.format(core, "0xd42") for core in range(4)),
    "proc/meminfo": "MemTotal:        7990124 kB\nMemFree:  100 kB\n",
    "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0-5\n",
    "proc/sys/kernel/osrelease": "5.15.148-tegra\n",
    "proc/sys/kernel/hostname": "jetson-1\n",
    "proc/uptime": "12.3 45.6\n",
    "sys/devices/system/cpu/online": "0-3\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu5/cpufreq/scaling_governor": "offline, so never read\n",
    "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.4 LTS"\n',
    "etc/hostname": "jetson-1\n",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Rel\n",
}
PC = {
    "proc/cpuinfo": 2 * "model name\t: Intel(R) Core(TM) i5\n\n",
    "proc/meminfo": "MemTotal:       16384000 kB\n",
    "proc/self/status": "Cpus_allowed_list:\t1,3-4\n",
    "sys/class/dmi/id/sys_vendor": "Dell Inc.\n",
    "sys/class/dmi/id/product_name": "OptiPlex 7090\n",
}
INPUT_RAIL = {
    f"sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/{name}": value
    for name, value in {"in1_label": "VDD_IN\n", "in1_input": "5000\n", "curr1_input": "900\n"}.items()
}
CARDS = {
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n",
    "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA H100 PCIe\nIRQ:   \t 64\n",
    "proc/driver/nvidia/gpus/0000:02:00.0/information": "Model: \t\t NVIDIA RTX A4000\nIRQ:   \t 65\n",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_a_jetson(tmp_path: Path) -> None:
    facts = device_facts(BACKENDS, tree(tmp_path, JETSON))
    assert facts.board == "NVIDIA Jetson Orin Nano Developer Kit"
    assert facts.cpu == "Cortex-A78AE"
    assert facts.cores == 4  # six allowed, two taken offline by the power mode
    assert facts.governor == "schedutil"
    assert facts.memory_bytes == 7990124 * 1024
    assert facts.os == "Ubuntu 22.04.4 LTS, Linux 5.15.148-tegra"
    assert facts.backends == ("onnxruntime",)
    assert facts.gpu == "tegra234"
    assert (facts.versions["l4t"], facts.versions["nvidia-driver"]) == ("36.4.3", "540.4.0")
    assert facts.versions["onnxruntime"] == "1.20.0"
    assert facts.versions["edge-s4op"] == edge_s4op.__version__
    assert {"numpy", "python"} <= facts.versions.keys()


@pytest.mark.parametrize("folder", ["lib64", "targets/aarch64-linux/lib"])
def test_cuda_is_known_by_its_runtime_library_where_nothing_else_tells(tmp_path: Path, folder: str) -> None:
    names = ("libcudart.so.12", "libcudart.so.12.6.68", "libcudart_static.a")
    tree(tmp_path, {f"usr/local/cuda/{folder}/{name}": "" for name in names})
    assert device_facts({}, tmp_path).versions["cuda"] == "12.6.68"


def test_what_only_root_may_read_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    """An agent run by root and one run by a user are on the same device."""
    folder = "sys/kernel/debug/bpmp/debug/clk/emc"
    hertz = {"rate": 2133000000, "min_rate": 204000000, "max_rate": 2133000000}
    limits = {f"{folder}/{name}": f"{value}\n" for name, value in hertz.items()}
    user = device_facts({}, tree(tmp_path / "user", JETSON))
    root = device_facts({}, tree(tmp_path / "root", JETSON | limits))
    assert root.clocks["emc"] == "204 .. 2133 MHz"
    assert root.fingerprint == user.fingerprint


def test_a_pc(tmp_path: Path) -> None:
    facts = device_facts(BACKENDS, tree(tmp_path, PC))
    assert facts.board == "Dell Inc. OptiPlex 7090"
    assert facts.cpu == "Intel(R) Core(TM) i5"
    assert facts.cores == 3
    assert facts.governor is None
    assert facts.power_source is None
    assert facts.gpu is None
    assert "nvidia-driver" not in facts.versions


def test_a_pc_with_two_cards(tmp_path: Path) -> None:
    facts = device_facts(BACKENDS, tree(tmp_path, PC | CARDS))
    assert facts.gpu == "NVIDIA H100 PCIe + NVIDIA RTX A4000"
    assert facts.versions["nvidia-driver"] == "535.104.05"


def test_a_power_sensor_is_named(tmp_path: Path) -> None:
    assert device_facts(BACKENDS, tree(tmp_path, JETSON | INPUT_RAIL)).power_source == "ina3221:VDD_IN"


def test_two_kinds_of_cores_and_governors_are_both_named(tmp_path: Path) -> None:
    cores = [ARM_CORE.format(0, "0xd03"), ARM_CORE.format(1, "0xd08"), ARM_CORE.format(2, "0xfff")]
    governors = {
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
    }
    facts = device_facts(BACKENDS, tree(tmp_path, JETSON | governors | {"proc/cpuinfo": "\n".join(cores)}))
    assert facts.cpu == "Cortex-A53 + Cortex-A72 + ARM implementer 0x41 part 0xfff"
    assert facts.governor == "performance+powersave+schedutil"


def test_an_empty_tree_is_a_device_we_know_little_of(tmp_path: Path) -> None:
    facts = device_facts({}, tmp_path)
    assert (facts.board, facts.governor, facts.memory_bytes, facts.backends) == ("PC", None, 0, ())
    assert facts.cores >= 1
    assert facts.cpu
    assert facts.os
    assert len(facts.fingerprint) == 64


@pytest.mark.parametrize("name", [*JETSON, "sys/class/dmi/id/sys_vendor"])
@pytest.mark.parametrize("content", [b"", b"\0", b"\xff\xfe::,-=\n\n", b"a-b,:\nMemTotal: many\n"])
def test_no_content_makes_it_fail(tmp_path: Path, name: str, content: bytes) -> None:
    (tree(tmp_path, JETSON | PC) / name).write_bytes(content)
    assert device_facts(BACKENDS, tmp_path).cores >= 1


@pytest.mark.parametrize("name", JETSON)
def test_a_folder_where_a_file_should_be_does_not_make_it_fail(tmp_path: Path, name: str) -> None:
    path = tree(tmp_path, JETSON) / name
    path.unlink()
    path.mkdir()
    assert device_facts(BACKENDS, tmp_path).cores >= 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything: run the tests as another user")
def test_a_forbidden_file_is_a_fact_not_known(tmp_path: Path) -> None:
    tree(tmp_path, PC | JETSON)
    for name in ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "proc/device-tree/model"):
        (tmp_path / name).chmod(0)
    (tmp_path / "sys/devices/system/cpu/cpu3").chmod(0)
    try:
        facts = device_facts(BACKENDS, tmp_path)
    finally:
        (tmp_path / "sys/devices/system/cpu/cpu3").chmod(0o755)
    assert facts.governor is None
    assert facts.board == "Dell Inc. OptiPlex 7090"


@pytest.mark.parametrize(
    "change",
    [
        {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance"},
        {"proc/device-tree/model": "NVIDIA Jetson AGX Orin\0"},
        {"sys/devices/system/cpu/online": "0-1"},
        {"proc/meminfo": "MemTotal:        3990124 kB"},
        {"proc/cpuinfo": ARM_CORE.format(0, "0xd08")},
        {"proc/driver/nvidia/version": CARDS["proc/driver/nvidia/version"]},
        {"proc/device-tree/compatible": "nvidia,tegra194\0"},
        {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.4, GCID: 1"},
    ],
)
def test_the_fingerprint_changes_with_what_latency_depends_on(tmp_path: Path, change: dict[str, str]) -> None:
    before = device_facts(BACKENDS, tree(tmp_path, JETSON)).fingerprint
    assert device_facts(BACKENDS, tree(tmp_path, change)).fingerprint != before


@pytest.mark.parametrize(
    "change",
    [
        {"proc/sys/kernel/hostname": "jetson-2", "etc/hostname": "jetson-2"},
        {"proc/uptime": "99999.9 1.0"},
        {"proc/meminfo": "MemTotal:        7988000 kB\nMemFree:  7 kB"},
        {"proc/self/status": "Name:\tother\nCpus_allowed_list:\t0-3\n"},
        INPUT_RAIL,
    ],
)
def test_the_fingerprint_keeps_through_what_latency_does_not_depend_on(
    tmp_path: Path, change: dict[str, str]
) -> None:
    before = device_facts(BACKENDS, tree(tmp_path, JETSON)).fingerprint
    assert device_facts(BACKENDS, tree(tmp_path, change)).fingerprint == before


def test_the_fingerprint_changes_with_a_backends_version_and_not_with_their_order(tmp_path: Path) -> None:
    tree(tmp_path, JETSON)
    two = {"onnxruntime": "1.20.0", "tensorrt": "10.3"}
    reordered = {"tensorrt": "10.3", "onnxruntime": "1.20.0"}
    fingerprint = device_facts(two, tmp_path).fingerprint
    assert device_facts(reordered, tmp_path).fingerprint == fingerprint
    assert device_facts(two | {"tensorrt": "10.4"}, tmp_path).fingerprint != fingerprint
    assert device_facts(BACKENDS, tmp_path).fingerprint != fingerprint


def test_a_plugin_that_is_missing_does_not_make_it_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S4OP_TRT_PLUGIN", str(tmp_path / "missing.so"))
    assert "ssm-conv-plugin" not in device_facts({"tensorrt": "10.3"}, tmp_path).versions


def test_this_machine() -> None:
    facts = device_facts(available_backends())
    assert facts == device_facts(available_backends())
    assert 1 <= facts.cores <= (os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        assert facts.cores == len(os.sched_getaffinity(0))
