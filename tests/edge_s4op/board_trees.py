"""Trees of files laid out as boards lay out /sys, /proc and /etc, by path below the root."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["JETPACK_4", "JETPACK_5", "JETPACK_6", "PC", "build"]

_STATUS = {"proc/self/status": "Cpus_allowed_list:\t0-1\n", "sys/devices/system/cpu/online": "0-1\n"}


def build(root: Path, *trees: Mapping[str, str]) -> Path:
    """Write the files of `trees`, later ones over earlier ones."""
    for tree in trees:
        for name, content in tree.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
    return root


def _cpus(khz: int) -> dict[str, str]:
    folder = "sys/devices/system/cpu/cpu{}/cpufreq/"
    names = {"scaling_cur_freq": khz, "scaling_min_freq": 729600, "scaling_max_freq": 1510400}
    files = {f"{folder.format(core)}{name}": f"{n}\n" for core in (0, 1) for name, n in names.items()}
    return files | {f"{folder.format(core)}related_cpus": "0 1\n" for core in (0, 1)}


def _zone(number: int, kind: str, celsius: float, passive: int = 99) -> dict[str, str]:
    folder = f"sys/class/thermal/thermal_zone{number}/"
    return {
        f"{folder}type": f"{kind}\n",
        f"{folder}temp": f"{celsius * 1000:.0f}\n",
        f"{folder}trip_point_0_type": "passive\n",
        f"{folder}trip_point_0_temp": f"{passive * 1000}\n",
    }


def _cooling(number: int, kind: str, state: int) -> dict[str, str]:
    folder = f"sys/class/thermal/cooling_device{number}/"
    return {f"{folder}type": f"{kind}\n", f"{folder}cur_state": f"{state}\n"}


def _gpu(name: str, hz: int = 624_750_000) -> dict[str, str]:
    folder = f"sys/class/devfreq/{name}/"
    limits = {"min_freq": "306000000\n", "max_freq": "624750000\n", "device/load": "120\n"}
    return {f"{folder}cur_freq": f"{hz}\n", **{f"{folder}{file}": text for file, text in limits.items()}}


def _ina3221(milliwatts: int) -> dict[str, str]:
    folder = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/"
    rails = {1: ("VDD_IN", milliwatts), 2: ("VDD_CPU_GPU_CV", 1000), 3: ("VDD_SOC", 500)}
    files: dict[str, str] = {}
    for number, (label, power) in rails.items():
        files |= {f"{folder}in{number}_label": label, f"{folder}in{number}_input": "5000"}
        files[f"{folder}curr{number}_input"] = f"{power // 5}"
    return files


_NVPMODEL = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n< PM_CONFIG DEFAULT=0 >\n"
_ORIN = {
    **_STATUS,
    **_cpus(1_510_400),
    **_zone(0, "cpu-thermal", 50.5),
    **_zone(1, "gpu-thermal", 49),
    **_zone(2, "tj-thermal", 51.25),
    **_zone(3, "cv0-thermal", -256),  # switched off
    **_ina3221(7900),
    **_cooling(0, "pwm-fan", 2),
    **_cooling(1, "cpu-throttle-alert", 0),
    "sys/class/hwmon/hwmon0/name": "pwmfan\n",
    "sys/class/hwmon/hwmon0/pwm1": "51\n",
    "sys/class/hwmon/hwmon2/name": "pwm_tach\n",
    "sys/class/hwmon/hwmon2/rpm": "1800\n",
    "sys/class/hwmon/hwmon3/name": "soctherm_oc\n",
    "sys/class/hwmon/hwmon3/oc3_event_cnt": "4\n",
    "sys/kernel/debug/bpmp/debug/clk/emc/rate": "2133000000\n",
    "sys/kernel/debug/bpmp/debug/clk/emc/min_rate": "204000000\n",
    "sys/kernel/debug/bpmp/debug/clk/emc/max_rate": "2133000000\n",
    "etc/nvpmodel.conf": _NVPMODEL,
    "var/lib/nvpmodel/status": "pmode:0001",
}
JETPACK_6 = {**_ORIN, **_gpu("17000000.gpu"), **_cooling(2, "devfreq-17000000.gpu", 0)}
JETPACK_5 = {**_ORIN, **_gpu("17000000.ga10b")}
JETPACK_4 = {
    **_STATUS,
    **_cpus(1_479_000),
    **_gpu("57000000.gpu"),
    **_zone(0, "AO-therm", 45),
    **_zone(1, "CPU-therm", 40, passive=97),
    **_zone(2, "GPU-therm", 39.5),
    **_zone(3, "PMIC-Die", 100),  # always
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": "4321\n",
    "sys/devices/pwm-fan/cur_pwm": "0\n",
    "etc/nvpmodel.conf": _NVPMODEL,
}
PC = {
    **_STATUS,
    **_cpus(1_400_000),
    "sys/class/hwmon/hwmon4/name": "coretemp\n",
    "sys/class/hwmon/hwmon4/temp1_label": "Package id 0\n",
    "sys/class/hwmon/hwmon4/temp1_input": "47000\n",
    "sys/class/hwmon/hwmon4/temp2_label": "Core 0\n",
    "sys/class/hwmon/hwmon4/temp2_input": "46000\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "5\n",
}
