"""Clocks of the cores, the GPU and the memory, the limits they are kept within, and the GPU's load.

On a Jetson the GPU's clock is a devfreq device, "17000000.ga10b" on JetPack 5, "17000000.gpu" on 6; memory
("emc") is under debugfs, which mostly only root reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edge_s4op.profiler.telemetry.sensors import Sensor, file_sensor, number_in, usable_cores

__all__ = ["clock_limits", "find_clocks", "find_gpu_load"]

_GPU = re.compile(r"(\d+\.)?(gpu|gk20a|gm20b|gp10b|gv11b|ga10b|gb10b)|gpu-gpc-0")
_EMC = (  # folder, and its files for now, least and most, Hz
    ("sys/kernel/debug/bpmp/debug/clk/emc", ("rate", "min_rate", "max_rate")),
    ("sys/class/devfreq/bwmgr", ("cur_freq", "min_freq", "max_freq")),
    ("sys/kernel/debug/clk/emc", ("clk_rate", "clk_min_rate", "clk_max_rate")),
)
_GPU_LOADS = (
    "sys/devices/gpu.0/load",
    "sys/devices/platform/gpu.0/load",
    "sys/devices/platform/bus@0/17000000.gpu/load",
)
_MHZ_PER_HZ, _MHZ_PER_KHZ = 1e-6, 1e-3


def find_clocks(root: Path) -> tuple[Sensor, ...]:
    """Clocks, MHz: "cpu" (the fastest core that this process may use), "gpu", "emc"."""
    return (*_cpu_clock(root), *_gpu_clock(root), *_emc_clock(root))


def find_gpu_load(root: Path) -> tuple[Sensor, ...]:
    """Load of a Jetson's GPU, %; Linux gives it per mille."""
    files = [folder / "device/load" for folder in _gpu_folders(root)]
    for file in (*files, *(root / name for name in _GPU_LOADS)):
        if found := tuple(file_sensor("load", "gpu", "%", file, 0.1)):
            return found
    return ()


def clock_limits(root: Path) -> dict[str, str]:
    """ "1510 MHz" or "729 .. 1510 MHz" by "cpu", "gpu", "emc"; several clusters of cores joined by " + "."""
    ranges = {
        "cpu": [
            _limits(folder / "scaling_min_freq", folder / "scaling_max_freq", 1e-3)
            for folder in _policies(root)
        ],
        "gpu": [_limits(folder / "min_freq", folder / "max_freq", 1e-6) for folder in _gpu_folders(root)[:1]],
        "emc": [
            _limits(folder / low, folder / high, 1e-6) for folder, (_, low, high) in _emc_folders(root)[:1]
        ],
    }
    known = {name: list(dict.fromkeys(text for text in texts if text)) for name, texts in ranges.items()}
    return {name: " + ".join(texts) for name, texts in known.items() if texts}


def _limits(low: Path, high: Path, mhz: float) -> str | None:
    least, most = number_in(low), number_in(high)
    if least is None or most is None:
        return None
    texts = [f"{value * mhz:.0f}" for value in (least, most)]
    return f"{texts[1]} MHz" if texts[0] == texts[1] else f"{texts[0]} .. {texts[1]} MHz"


def _policies(root: Path) -> list[Path]:
    """cpufreq's folders of the cores we may use, one of each cluster whose cores share a clock."""
    found: dict[str, Path] = {}
    for core in usable_cores(root):
        folder = root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        try:
            shared = (folder / "related_cpus").read_text().strip() or str(core)
        except (OSError, ValueError):
            shared = str(core)
        found.setdefault(shared, folder)
    return list(found.values())


def _cpu_clock(root: Path) -> Iterator[Sensor]:
    files = [folder / "scaling_cur_freq" for folder in _policies(root)]
    sensors = [s for file in files for s in file_sensor("clock", "cpu", "MHz", file, _MHZ_PER_KHZ)]

    def fastest() -> float | None:
        return max((mhz for sensor in sensors if (mhz := sensor.read()) is not None), default=None)

    if sensors:
        yield Sensor("clock", "cpu", "MHz", fastest)


def _gpu_folders(root: Path) -> list[Path]:
    folders = sorted((root / "sys/class/devfreq").glob("*"))
    return [folder for folder in folders if _GPU.fullmatch(folder.name)]


def _gpu_clock(root: Path) -> Iterator[Sensor]:
    for folder in _gpu_folders(root)[:1]:
        yield from file_sensor("clock", "gpu", "MHz", folder / "cur_freq", _MHZ_PER_HZ)


def _emc_folders(root: Path) -> list[tuple[Path, tuple[str, str, str]]]:
    folders = [(root / name, files) for name, files in _EMC]
    return [(folder, files) for folder, files in folders if number_in(folder / files[0]) is not None]


def _emc_clock(root: Path) -> Iterator[Sensor]:
    for folder, (now, _, _) in _emc_folders(root)[:1]:
        yield from file_sensor("clock", "emc", "MHz", folder / now, _MHZ_PER_HZ)
