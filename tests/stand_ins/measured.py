"""What stands in for a machine in tests of measurements: its rates, a clock, peaks of memory."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trilemma.hardware import Unmeasured
from trilemma.hardware.machine import Machine
from trilemma.profiling.peaks import Peak, Work
from trilemma.records import Record

MIB = 2**20

MACHINE = Machine(
    name="made up",
    kind="cpu",
    flops={"float32": 1e11, "int8": 1e11, "packed": 2e11},
    bandwidth=1e10,
    memory=1e10,
)

NO_METER = Unmeasured("no meter in this test")


class Clock:
    """Every look at it is a millisecond after the last."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


class FakePeaks:
    """Every peak is 100 MiB, found without a process.

    Attributes:
        asked: the works whose peaks were asked for.
    """

    def __init__(self) -> None:
        self.asked: list[Work] = []

    def __call__(self, works: Sequence[Work], device: str, time_limit: float) -> Iterator[Peak]:
        held = {
            "classify": {"weights": 30 * MIB},
            "generate": {"weights": 30 * MIB, "state": 10 * MIB},
            "train": {"weights": 30 * MIB, "gradients": 20 * MIB, "optimiser": 25 * MIB},
        }
        for work in works:
            self.asked.append(work)
            yield Peak(100.0 * MIB, 99.0 * MIB, 101.0 * MIB, 6, held[work.phase], "made up")


class Found:
    """Records by what tells them apart; each that is asked for must be there once."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = list(records)

    def all(self, metric: str, phase: str = "", **columns: Any) -> list[Record]:
        """Those of a metric and phase with these columns."""
        wanted = {"metric": metric, "phase": phase, **columns}
        return [
            one for one in self.records if all(getattr(one, name) == value for name, value in wanted.items())
        ]

    def one(self, metric: str, phase: str = "", **columns: Any) -> Record:
        """The only one."""
        (record,) = self.all(metric, phase, **columns)
        return record

    def value(self, metric: str, phase: str = "", **columns: Any) -> float:
        """Its value."""
        record = self.one(metric, phase, **columns)
        assert record.value is not None, record.reason
        return record.value
