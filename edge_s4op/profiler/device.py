"""What this device is, read from Linux's own files; nothing missing or forbidden makes it fail."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import edge_s4op
from edge_s4op.huge_pages import huge_pages_mode
from edge_s4op.messages import DeviceFacts
from edge_s4op.profiler.gpu import gpu_name, gpu_versions
from edge_s4op.profiler.power import find_power_sensor
from edge_s4op.profiler.telemetry.clocks import clock_limits
from edge_s4op.profiler.telemetry.power_mode import power_mode
from edge_s4op.profiler.telemetry.sensors import usable_cores
from edge_s4op.runtime.onnxruntime_plugin import plugin_fact

__all__ = ["device_facts", "hashed_parts"]

_UNKNOWN = "unknown"
_KIB, _GIB = 1 << 10, 1 << 30
_NOT_HASHED = ("numpy", "python")  # versions that latency does not depend on

# MIDR implementer and part -> core, for kernels that give no model name
# (Linux, arch/arm64/include/asm/cputype.h): the cores of Jetsons and of common boards beside them.
_ARM_CORES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x4e", "0x003"): "Denver 2",
    ("0x4e", "0x004"): "Carmel",
}


def device_facts(backends: Mapping[str, str], root: Path = Path("/")) -> DeviceFacts:
    """Facts about this device, with `backends` as {name: version of its library}.

    What cannot be read is None, "unknown" or 0. `root` is where /proc, /sys and /etc are looked for.
    """
    root = Path(root)
    cores, memory_bytes, power = usable_cores(root), _memory(root), find_power_sensor(root / "sys")
    versions = {"edge-s4op": edge_s4op.__version__, **backends, **gpu_versions(backends, root)}
    if "onnxruntime" in backends:
        versions["ssm-conv-onnxruntime"] = plugin_fact()
    facts = DeviceFacts(
        board=_board(root),
        cpu=_cpu(root),
        cores=len(cores),
        governor=_governor(root, cores),
        huge_pages=huge_pages_mode(root),
        memory_bytes=memory_bytes,
        os=_os(root),
        gpu=gpu_name(root),
        power_mode=power_mode(root),
        clocks=clock_limits(root),
        versions={**versions, "numpy": np.__version__, "python": platform.python_version()},
        backends=tuple(backends),
        power_source=power.source if power else None,
        fingerprint="",
    )
    return facts.model_copy(update={"fingerprint": _fingerprint(hashed_parts(facts))})


def hashed_parts(facts: DeviceFacts) -> dict[str, object]:
    """What of `facts` the fingerprint is a hash of: all that latency depends on.

    Not the power sensor, nor the kernel: latency is the same without.
    """
    return {
        "board": facts.board,
        "cpu": facts.cpu,
        "cores": facts.cores,
        "governor": facts.governor,
        "huge pages": facts.huge_pages,
        # MemTotal moves by some MB with every kernel; how much memory there is does not.
        "memory in GiB": round(facts.memory_bytes / _GIB),
        "gpu": facts.gpu,
        "power mode": facts.power_mode,
        # Only root may read the memory's clock; what sets it (power mode, locked clocks) shows in others.
        "clocks": {name: limits for name, limits in facts.clocks.items() if name != "emc"},
        "versions": {name: v for name, v in facts.versions.items() if name not in _NOT_HASHED},
    }


def _fingerprint(parts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _text(path: Path) -> str | None:
    """A small file's text without trailing NULs and blanks; None when unreadable or empty."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content.decode("utf-8", errors="replace").strip("\0 \t\r\n") or None


def _board(root: Path) -> str:
    if model := _text(root / "proc/device-tree/model"):  # "NVIDIA Jetson Orin Nano ...\0"
        return model
    dmi = [_text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    return " ".join(part for part in dmi if part) or "PC"


def _cpu(root: Path) -> str:
    """Distinct core names in order of appearance: big.LITTLE boards have two."""
    text = _text(root / "proc/cpuinfo") or ""
    blocks = [_fields(block) for block in text.split("\n\n")]
    names = dict.fromkeys(name for block in blocks if (name := _core_name(block)))
    return " + ".join(names) or platform.machine() or _UNKNOWN


def _core_name(fields: Mapping[str, str]) -> str | None:
    implementer, part = fields.get("CPU implementer"), fields.get("CPU part")
    if implementer and part:  # before the model name: Jetson's is "ARMv8 Processor rev 1 (v8l)"
        return _ARM_CORES.get((implementer, part)) or f"ARM implementer {implementer} part {part}"
    return fields.get("model name") or None


def _fields(block: str) -> dict[str, str]:
    """The `key : value` lines of a /proc file."""
    pairs = (line.partition(":") for line in block.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _governor(root: Path, cores: tuple[int, ...]) -> str | None:
    """The frequency governor of the cores we run on; several joined by "+"; None if there is none."""
    folder = root / "sys/devices/system/cpu"
    found = {_text(folder / f"cpu{core}" / "cpufreq/scaling_governor") for core in cores}
    return "+".join(sorted(name for name in found if name)) or None


def _memory(root: Path) -> int:
    total = _fields(_text(root / "proc/meminfo") or "").get("MemTotal", "").split()
    return int(total[0]) * _KIB if total and total[0].isdigit() else 0


def _os(root: Path) -> str:
    release = _text(root / "etc/os-release") or ""
    names = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    name = names.get("PRETTY_NAME", "").strip("\"'") or platform.system() or _UNKNOWN
    kernel = _text(root / "proc/sys/kernel/osrelease")
    return f"{name}, Linux {kernel}" if kernel else name
