"""Which meters this machine has.

What is metered depends on the machine, and every meter names its source:

- processors and their memory by RAPL, read from the kernel's ``powercap`` files. Zeus would read the same
  files, but from one more process per counter, which imports the user's program again;
- NVIDIA GPUs by NVML, found by their UUID; the bindings come with the extra ``[energy]``;
- what else Zeus knows (AMD GPUs, processors that only its daemon may read) through ``zeus``.

A counter that stands still is not used: Zeus and some virtual machines answer 0 where there is nothing to
read.
"""

import contextlib
import importlib
import io
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trilemma.hardware import Unmeasured
from trilemma.hardware import nvml as nvidia
from trilemma.hardware.meters import (
    WATCH_SECONDS,
    Counter,
    Meter,
    MeterError,
    joined,
    sampled,
)

POWERCAP = Path("/sys/class/powercap")

RAPL_WINDOW = 0.25
"""Shortest window over a RAPL counter in seconds: it is updated about every millisecond (Intel SDM, volume 3,
"RAPL interfaces"), so what is missed at the ends of a window is less than 1% of it."""

GPU_WINDOW = 1.0
"""Shortest window over a GPU's counter or power in seconds: they are updated every 20 to 100 ms (Yang et al.
2023, arXiv 2312.02741), so at most a tenth of a window belongs to the moments before it."""

MOVES_WITHIN = 0.5
"""Seconds in which a working counter of a device that is switched on has moved."""

_READ_APART = 0.5
"""Joules that a socket uses at most between the readings of two of its dies."""

_ZONE = re.compile(r"intel-rapl:(\d+)(:\d+)?")  # AMD processors have the same names


def open_meter(device: str = "cpu") -> Meter | Unmeasured:
    """The meter of what works where torch's ``device`` is: the GPU and the processors that drive it.

    Returns:
        The reason, where the device has no meter; processors without one beside a GPU are left out, as the
        meter's source says.
    """
    kind = device.partition(":")[0]
    if kind == "cpu":
        return processor_meter()
    if kind != "cuda":
        return Unmeasured(f"no energy meter is known for the device {device}")
    gpu = _gpu_meter(device)
    if isinstance(gpu, Unmeasured):
        return gpu
    processors = processor_meter()
    return gpu if isinstance(processors, Unmeasured) else joined(gpu, processors)


class Zone(NamedTuple):
    """A RAPL zone: ``package-0``, ``dram-0``, ..., and its folder."""

    component: str
    folder: Path


def rapl_zones(powercap: Path = POWERCAP) -> list[Zone]:
    """The zones that together are the processors and their memory, each once.

    Left out are cores and graphics, which are part of their package, ``psys``, which contains the packages,
    and the second interface to the same packages (``intel-rapl-mmio``).
    """
    found = []
    for folder in powercap.glob("intel-rapl:*"):
        match = _ZONE.fullmatch(folder.name)
        try:
            name = (folder / "name").read_text().strip()
        except OSError:
            continue
        if match and match[2] is None and name.startswith("package"):
            found.append(Zone(name, folder))
        elif match and match[2] is not None and name == "dram":
            found.append(Zone(f"dram-{match[1]}", folder))
    return sorted(found)


def processor_meter(
    powercap: Path = POWERCAP, *, zeus: Any = None, sleep: Callable[[float], None] = time.sleep
) -> Meter | Unmeasured:
    """RAPL counters, or what Zeus reads in their place.

    Args:
        powercap: the kernel's folder of zones.
        zeus: the module ``zeus.device``; by default the one that is installed.
        sleep: waits so many seconds for counters to move.
    """
    zones = rapl_zones(powercap)
    files = [zone.folder / name for zone in zones for name in ("energy_uj", "max_energy_range_uj")]
    unreadable = [path for path in files if not os.access(path, os.R_OK)]
    if zones and not unreadable:
        meter = _moving([_rapl_counter(zone) for zone in zones], "RAPL counters", RAPL_WINDOW, sleep)
        return meter or Unmeasured("the RAPL counters of this machine stand still, as on virtual machines")
    reason = "no RAPL counters (none on virtual machines)"
    if unreadable:
        reason = f"{unreadable[0]} is not readable by this user; grant it: sudo chmod a+r {unreadable[0]}"
    zeus = zeus or import_zeus()
    return (zeus and _zeus_processors(zeus, sleep)) or Unmeasured(reason)


def _rapl_counter(zone: Zone) -> Counter:
    path = zone.folder / "energy_uj"

    def joules() -> float:
        try:
            return int(path.read_text()) / 1e6
        except (OSError, ValueError) as error:
            raise MeterError(f"{path} can no longer be read ({error}); measure again") from error

    wraps = int((zone.folder / "max_energy_range_uj").read_text()) / 1e6
    return Counter(zone.component, joules, wraps, WATCH_SECONDS)


def _moving(
    counters: Sequence[Counter], source: str, shortest: float, sleep: Callable[[float], None]
) -> Meter | None:
    """A meter of those counters that move; None where none does."""
    before = [counter.joules() for counter in counters]
    sleep(MOVES_WITHIN)
    after = [counter.joules() for counter in counters]
    alive: list[Counter] = []
    seen: list[tuple[str, float, float]] = []
    for counter, then, now in zip(counters, before, after, strict=True):
        # Dies of one socket mirror its counter: equal readings, but for what is used between two of them.
        socket, _, die = counter.component.partition("-die-")
        mirrored = die and any(
            socket == other and abs(then - first) <= _READ_APART and abs(now - second) <= _READ_APART
            for other, first, second in seen
        )
        seen.append((socket, then, now))
        if now != then and not mirrored:
            alive.append(counter)
    if not alive:
        return None
    named = " and ".join(counter.component for counter in alive)
    return Meter(alive, f"{source} of {named}", shortest)


def _gpu_meter(device: str) -> Meter | Unmeasured:
    import torch

    if torch.version.hip is not None:
        zeus = import_zeus()
        if zeus is None:
            return Unmeasured(f"an AMD GPU is read through zeus; {nvidia.INSTALL} brings it")
        return zeus_gpu_meter(zeus, torch.device(device).index or 0)
    nvml = nvidia.load()
    return nvml if isinstance(nvml, Unmeasured) else nvml_meter(nvml, nvidia.uuid(device))


def nvml_meter(nvml: Any, uuid: str, *, sleep: Callable[[float], None] = time.sleep) -> Meter | Unmeasured:
    """A GPU's energy counter (Volta and later), or samples of its power.

    Args:
        nvml: the module ``pynvml``, initialised.
        uuid: of the GPU.
        sleep: waits so many seconds for the counter to move.
    """

    def reading(function: str) -> Callable[[], float]:
        def read() -> float:
            try:
                return float(getattr(nvml, function)(handle)) / 1e3  # millijoules, milliwatts
            except nvml.NVMLError as error:
                raise MeterError(f"NVML can no longer read the GPU ({error}); measure again") from error

        return read

    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        nvml.nvmlDeviceGetPowerUsage(handle)
    except nvml.NVMLError as error:
        return Unmeasured(f"NVML does not report the power of the GPU {uuid} ({error})")
    try:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:
        meter = None  # before Volta
    else:
        counter = Counter("GPU", reading("nvmlDeviceGetTotalEnergyConsumption"))
        meter = _moving([counter], "NVML counter", GPU_WINDOW, sleep)
    return meter or Meter(
        [sampled("GPU", reading("nvmlDeviceGetPowerUsage"))], "NVML power samples of GPU", GPU_WINDOW
    )


def import_zeus() -> Any:
    """The module ``zeus.device``, or None where the package is absent or cannot be imported."""
    shield_from_amdsmi()
    try:
        return importlib.import_module("zeus.device")
    except ImportError:
        return None


def shield_from_amdsmi() -> None:
    """Make a broken ``amdsmi``, which comes with zeus, look absent to whatever imports it later.

    Where the driver's library is missing it raises KeyError on import (and prints). Packages that can do
    without it do not expect that; they do expect ModuleNotFoundError.
    """
    if "amdsmi" in sys.modules:
        return
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module("amdsmi")
    except ImportError:
        pass  # absent, and says so
    except Exception:  # whatever its bindings stumble over
        for name in [name for name in sys.modules if name.startswith("amdsmi.")]:
            del sys.modules[name]
        sys.modules["amdsmi"] = None  # type: ignore[assignment]  # documented: import raises


def _zeus_processors(zeus: Any, sleep: Callable[[float], None]) -> Meter | None:
    try:
        cpus = zeus.get_cpus()
        counters = [
            Counter(f"{component}-{index}", _zeus_reading(cpus.get_total_energy_consumption, index, field))
            for index in range(len(cpus))
            for component, field in (("package", "cpu_mj"), ("dram", "dram_mj"))
            if getattr(cpus.get_total_energy_consumption(index), field) is not None
        ]
        return _moving(counters, "zeus counters", RAPL_WINDOW, sleep)
    except Exception:  # zeus raises errors of many kinds
        return None


def zeus_gpu_meter(
    zeus: Any, index: int, *, sleep: Callable[[float], None] = time.sleep
) -> Meter | Unmeasured:
    """What Zeus reads of a GPU: its counter, or samples of its power.

    Args:
        zeus: the module ``zeus.device``.
        index: of the GPU, as torch counts it.
        sleep: waits so many seconds for the counter to move.
    """
    try:
        gpus = zeus.get_gpus()
        if gpus.supports_get_total_energy_consumption(index):
            counter = Counter("GPU", _zeus_reading(gpus.get_total_energy_consumption, index))
            meter = _moving([counter], "zeus counter", GPU_WINDOW, sleep)
            if meter is not None:
                return meter
        read = _zeus_reading(gpus.get_instant_power_usage, index)
        if read() <= 0:
            return Unmeasured(f"zeus does not report the power of GPU {index}")
    except Exception as error:  # zeus raises errors of many kinds
        return Unmeasured(f"zeus cannot read GPU {index} ({type(error).__name__}: {error})")
    return Meter([sampled("GPU", read)], "zeus power samples of GPU", GPU_WINDOW)


def _zeus_reading(function: Callable[[int], Any], index: int, field: str = "") -> Callable[[], float]:
    """Joules or watts from one of Zeus's functions, which return thousandths."""

    def read() -> float:
        try:
            answer = function(index)
            return float(getattr(answer, field) if field else answer) / 1e3
        except Exception as error:
            raise MeterError(f"zeus can no longer read the meter ({error}); measure again") from error

    return read
