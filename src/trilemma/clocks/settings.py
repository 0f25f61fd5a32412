"""Clocks that can be set: those of the processors by cpufreq, that of an NVIDIA GPU by NVML.

Nothing here gives a clock back by itself; :mod:`trilemma.clocks.control` does, however a program ends.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from trilemma.errors import TrilemmaError
from trilemma.hardware import Unmeasured
from trilemma.hardware import nvml as nvidia

CPUFREQ = Path("/sys/devices/system/cpu/cpufreq")

IDLE = 0x1  # nvmlClocksEventReasonGpuIdle
APPLICATION_CLOCKS = 0x2  # nvmlClocksEventReasonApplicationsClocksSetting

_LOW, _HIGH = "scaling_min_freq", "scaling_max_freq"
_POLICY = re.compile(r"policy\d+")
_STEP_KHZ = 100_000  # the reference clock that modern processors multiply


class ClockError(TrilemmaError):
    """Clocks that cannot be set or given back; the message names what is in the way."""


Found = Mapping[str, tuple[int, int]]
"""What clocks were before they were set, as it is written to a journal: limits by policy, in kHz."""


class Clocks(Protocol):
    """Clocks of one kind.

    Attributes:
        name: fit for a file name: ``cpufreq``, ``nvml-GPU-...``.
    """

    name: str

    def available(self) -> list[int]:
        """Frequencies that can be set, in MHz, ascending.

        Raises:
            ClockError: where there are none.
        """

    def check(self) -> None:
        """Find out whether they can be set and given back; what is set already stays.

        Raises:
            ClockError: where they cannot, naming the remedy.
        """

    def found(self) -> Found:
        """What :meth:`restore` needs to undo every :meth:`set`."""

    def set(self, mhz: int) -> None:
        """Run at one of the available frequencies.

        Raises:
            ClockError: where the system refuses, or takes another frequency.
        """

    def restore(self, found: Found) -> None:
        """Give back what was found; doing so again changes nothing.

        Raises:
            ClockError: where something could not be given back; the rest was.
        """

    def now(self) -> float | None:
        """The momentary frequency in MHz; None where it is not known."""


def _read(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        raise ClockError(f"{path} cannot be read ({error}); the clocks of this policy are unknown") from error


def write_khz(path: Path, khz: int) -> None:
    """Write a frequency to a policy's file, where it differs.

    Raises:
        ClockError: where the system refuses.
    """
    if _read(path) == khz:
        return
    try:
        path.write_text(f"{khz}\n")
    except OSError as error:
        raise ClockError(f"{path} cannot be set to {khz} kHz ({error.strerror}); run as root") from error


class CpuClocks:
    """The clocks of all processors, by the limits of the kernel's cpufreq policies.

    Both limits of every policy are set to the one frequency, which every governor obeys; governors are left
    alone. A processor whose highest limit lets it boost may run faster than that one.

    Args:
        root: folder of the policies.
        write: writes a frequency in kHz to a policy's file.
        writable: whether this user may write to one.
    """

    name = "cpufreq"

    def __init__(
        self,
        root: Path = CPUFREQ,
        *,
        write: Callable[[Path, int], None] = write_khz,
        writable: Callable[[Path], bool] = lambda path: os.access(path, os.W_OK),
    ) -> None:
        self._root, self._write, self._writable = root, write, writable

    def available(self) -> list[int]:
        """Frequencies that all policies have; steps of 100 MHz where the driver names none."""
        return sorted(self._khz())

    def check(self) -> None:
        """Whether both limits of every policy can be written."""
        self._khz()
        for policy in self._policies():
            for file in (policy / _LOW, policy / _HIGH):
                if not self._writable(file):
                    raise ClockError(
                        f"{file} cannot be written by this user; run as root, or estimate with --watts"
                    )

    def found(self) -> Found:
        """Both limits of every policy."""
        return {policy.name: (_read(policy / _LOW), _read(policy / _HIGH)) for policy in self._policies()}

    def set(self, mhz: int) -> None:
        """Pin every policy."""
        khz = self._khz()[mhz]
        for policy in self._policies():
            self._limit(policy, khz, khz)

    def restore(self, found: Found) -> None:
        """Write back the limits, those of each policy even where another's could not be written."""
        failures = []
        for name, (low, high) in found.items():
            try:
                self._limit(self._policy(name), low, high)
            except ClockError as error:
                failures.append(str(error))
        if failures:
            raise ClockError("; ".join(failures))

    def now(self) -> float | None:
        """The fastest policy's."""
        current = []
        for policy in self._policies():
            try:
                current.append(_read(policy / "scaling_cur_freq") / 1e3)
            except ClockError:
                return None  # not every driver has it
        return max(current)

    def _policy(self, name: str) -> Path:
        """A policy's folder; its name may come from a file that somebody else can write."""
        if not _POLICY.fullmatch(name):
            raise ClockError(f"{name!r} is not a cpufreq policy")
        return self._root / name

    def _policies(self) -> list[Path]:
        policies = sorted(path for path in self._root.glob("policy*") if _POLICY.fullmatch(path.name))
        if not policies:
            raise ClockError(
                f"{self._root} has no policies (none on most virtual machines): the clocks of these "
                "processors cannot be set; estimate with --watts"
            )
        return policies

    def _khz(self) -> dict[int, int]:
        """The frequencies that can be written, by MHz."""
        common = set.intersection(*(_frequencies(policy) for policy in self._policies()))
        if not common:
            raise ClockError(f"the policies in {self._root} have no frequency in common; none can be set")
        return {round(khz / 1e3): khz for khz in common}

    def _limit(self, policy: Path, low: int, high: int) -> None:
        """Set both limits, at no moment the lower one above the upper one, which the kernel refuses."""
        ascending = high >= _read(policy / _LOW)
        order = ((_HIGH, high), (_LOW, low)) if ascending else ((_LOW, low), (_HIGH, high))
        for name, khz in order:
            self._write(policy / name, khz)
        for name, khz in order:
            if (taken := _read(policy / name)) != khz:
                raise ClockError(f"the kernel made {taken} kHz of the {khz} kHz written to {policy / name}")


def _frequencies(policy: Path) -> set[int]:
    listed = policy / "scaling_available_frequencies"
    if listed.exists():
        try:
            return {int(khz) for khz in listed.read_text().split()}
        except (OSError, ValueError) as error:
            raise ClockError(f"{listed} cannot be read ({error}); its frequencies are unknown") from error
    low, high = _read(policy / "cpuinfo_min_freq"), _read(policy / "cpuinfo_max_freq")
    return {*range(low, high, _STEP_KHZ), high}


class NvidiaClocks:
    """The clock of an NVIDIA GPU, locked by NVML.

    NVML does not say what lock is set, only that a busy GPU runs slower because of one. So a GPU whose clocks
    are limited already is refused, and what is given back is a GPU without a lock.

    Args:
        uuid: the GPU's, ``GPU-...``.
        nvml: the module ``pynvml``, initialised; by default the installed one.
        occupy: gives the GPU work for a moment, and returns before it is done.
    """

    def __init__(self, uuid: str, nvml: Any = None, occupy: Callable[[], None] = lambda: None) -> None:
        self.name = f"nvml-{uuid}"
        nvml = nvml or nvidia.load()
        if isinstance(nvml, Unmeasured):
            raise ClockError(f"the clock of the GPU {uuid} cannot be set: {nvml.reason}")
        self._nvml, self._uuid, self._occupy = nvml, uuid, occupy
        self._handle = self._call("nvmlDeviceGetHandleByUUID", uuid)

    def available(self) -> list[int]:
        """Graphics clocks that go with the fastest memory clock."""
        memory = max(self._on_gpu("nvmlDeviceGetSupportedMemoryClocks"))
        return sorted(self._on_gpu("nvmlDeviceGetSupportedGraphicsClocks", memory))

    def check(self) -> None:
        """Whether no limit is set that could not be given back, and a lock, now none, may be taken off."""
        current = "nvmlDeviceGetCurrentClocksEventReasons"
        older = "nvmlDeviceGetCurrentClocksThrottleReasons"
        self._occupy()
        reasons = self._on_gpu(current if hasattr(self._nvml, current) else older)
        if reasons & IDLE:
            raise ClockError(
                f"the GPU {self._uuid} is idle, so it is not known whether its clocks are limited; let "
                "something run on it meanwhile"
            )
        if reasons & APPLICATION_CLOCKS:
            raise ClockError(
                f"the clocks of the GPU {self._uuid} are limited already, which could not be given back "
                "afterwards; take the limit off (nvidia-smi -rgc; nvidia-smi -rac) or estimate with --watts"
            )
        self._on_gpu("nvmlDeviceResetGpuLockedClocks")

    def found(self) -> Found:
        """Nothing: there was no lock."""
        return {}

    def set(self, mhz: int) -> None:
        """Lock the clock."""
        self._on_gpu("nvmlDeviceSetGpuLockedClocks", mhz, mhz)

    def restore(self, found: Found) -> None:
        """Take the lock off."""
        self._on_gpu("nvmlDeviceResetGpuLockedClocks")

    def now(self) -> float | None:
        """The clock of the streaming multiprocessors."""
        try:
            return float(self._on_gpu("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM))
        except ClockError:
            return None

    def _on_gpu(self, function: str, *arguments: int) -> Any:
        return self._call(function, self._handle, *arguments)

    def _call(self, function: str, *arguments: object) -> Any:
        called: Callable[..., Any] = getattr(self._nvml, function)
        try:
            return called(*arguments)
        except self._nvml.NVMLError as error:
            if error.value == self._nvml.NVML_ERROR_NO_PERMISSION:
                remedy = "this user may not set its clocks; run as root"
            else:
                remedy = f"{function} failed ({error}); estimate with --watts instead"
            raise ClockError(f"GPU {self._uuid}: {remedy}") from error


def clocks_of(device: str) -> Clocks:
    """The clocks of what torch's ``device`` computes on.

    Raises:
        ClockError: where there are none that can be set.
    """
    kind = device.partition(":")[0]
    if kind == "cpu":
        return CpuClocks()
    if kind == "cuda":
        import torch

        if torch.version.hip is None:
            return NvidiaClocks(nvidia.uuid(device), occupy=lambda: _occupy(device))
    raise ClockError(f"the clocks of the device {device} cannot be set; only processors and NVIDIA GPUs can")


def _occupy(device: str) -> None:
    """Some tenths of a second of products of matrices, of which the first have begun."""
    import time

    import torch

    one = torch.ones(4096, 4096, device=device)
    for _ in range(100):
        torch.mm(one, one)
    time.sleep(0.05)
