"""Machines whose clocks tests may set: a folder like the kernel's cpufreq, a module like NVML's bindings."""

import json
from pathlib import Path
from typing import Any

STEPS = "3400000 2800000 2200000 800000"
GPU = "GPU-1"


def save_policies(root: Path, policies: int = 2, steps: str | None = STEPS) -> Path:
    """A tree as the kernel shows it; without ``steps`` the driver names no frequencies."""
    for index in range(policies):
        policy = root / f"policy{index}"
        policy.mkdir(parents=True)
        files = {
            "cpuinfo_min_freq": "800000",
            "cpuinfo_max_freq": "3400000",
            "scaling_min_freq": ("800000", "2200000")[index % 2],
            "scaling_max_freq": ("3400000", "2800000")[index % 2],
            "scaling_cur_freq": "2200000",
            "scaling_governor": "schedutil",
        }
        files |= {"scaling_available_frequencies": steps} if steps else {}
        for name, value in files.items():
            (policy / name).write_text(f"{value}\n")
    return root


def contents(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()
    }


class NvmlError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


class StandInNvml:
    """One GPU; its lock outlives the process in a file, as a real one does in the driver."""

    NVMLError = NvmlError
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_NO_PERMISSION = 4
    NVML_CLOCK_SM = 1

    def __init__(self, state: Path, *, refuses: int = 0, reasons: int = 0) -> None:
        self._state, self._refuses, self._reasons = state, refuses, reasons

    @property
    def lock(self) -> list[int] | None:
        return json.loads(self._state.read_text()) if self._state.exists() else None

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != GPU:
            raise NvmlError(6)
        return "handle"

    def nvmlDeviceGetSupportedMemoryClocks(self, handle: Any) -> list[int]:  # noqa: N802
        return [1593, 810]

    def nvmlDeviceGetSupportedGraphicsClocks(self, handle: Any, memory: int) -> list[int]:  # noqa: N802
        return {1593: [1980, 1200, 345], 810: [345]}[memory]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any) -> int:  # noqa: N802
        return self._reasons

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int) -> int:  # noqa: N802
        return self.lock[1] if self.lock else 1980

    def nvmlDeviceSetGpuLockedClocks(self, handle: Any, low: int, high: int) -> None:  # noqa: N802
        self._change()
        self._state.write_text(json.dumps([low, high]))

    def nvmlDeviceResetGpuLockedClocks(self, handle: Any) -> None:  # noqa: N802
        self._change()
        self._state.unlink(missing_ok=True)

    def _change(self) -> None:
        if self._refuses:
            raise NvmlError(self._refuses)
