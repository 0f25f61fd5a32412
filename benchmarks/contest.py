"""What the benchmarks of kernels and models share: contests in interleaved rounds, floors, recorded ratios.

A *ratio* is formed within each round; its interval is that of a
median over rounds. Ratios are what is recorded and compared between runs, since absolute times depend on the
machine and on its neighbours. They are recorded by processor and instruction set, on which they depend too.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trilemma import _native
from trilemma.hardware.machine import cpu_model
from trilemma.models.placement import place_in_large_pages
from trilemma.profiling.timing import Median, interleave, median

RECORDED = Path(__file__).parent / "recorded.json"
TOLERANCE = 0.15
"""Share by which a ratio may be worse than the recorded one."""

Work = Callable[[], Any]


@dataclass(frozen=True)
class Finding:
    """One figure that has a target or is worth recording.

    Attributes:
        name: what it is of; unique.
        ratio: the figure, higher is better.
        target: what it should reach; None for no target.
    """

    name: str
    ratio: Median
    target: float | None

    def __str__(self) -> str:
        interval = "" if self.ratio.low is None else f" ({self.ratio.low:.2f} to {self.ratio.high:.2f})"
        aim = ""
        if self.target is not None:
            aim = f", target {self.target:g}: {'met' if self.ratio.value >= self.target else 'NOT MET'}"
        return f"{self.name}: {self.ratio.value:.2f}{interval}{aim}"


class Contest:
    """Works that are timed side by side.

    Args:
        title: printed above the table.
        works: by name; each is run once before it counts.
        rounds: repetitions; at least 6 for an interval.
        seconds: time aimed at for each work.
    """

    def __init__(self, title: str, works: Mapping[str, Work], rounds: int, seconds: float = 3.0) -> None:
        self.title = title
        first = {name: _seconds(work) for name, work in works.items()}
        # What ran before leaves its data in the caches and its threads awake: short works run once more.
        short = {name for name, work in works.items() if first[name] < 1.0 and _seconds(work) < 0.1}
        samples = interleave(
            {name: _timed(work) for name, work in works.items()},
            most=rounds,
            seconds=seconds,
            untimed=frozenset(short),
        )
        self.seconds = {name: np.array([one["all"] for one in taken]) for name, taken in samples.items()}

    def time(self, name: str) -> Median:
        """Seconds of one work."""
        return median(list(self.seconds[name]))

    def speed(self, fast: str, slow: str) -> Median:
        """How many times as fast the first work is."""
        return median(list(self.seconds[slow] / self.seconds[fast]))

    def share(self, name: str, of: str, parts: float) -> Median:
        """``parts`` of the time of ``of``, the floor, over the time of ``name``."""
        return median(list(parts * self.seconds[of] / self.seconds[name]))

    def table(self) -> str:
        """Times of all works, Markdown."""
        rows = [f"### {self.title}", "", "| | ms | 95% interval |", "| --- | --- | --- |"]
        for name in self.seconds:
            taken = self.time(name)
            interval = "" if taken.low is None else f"{taken.low * 1e3:.4g} to {taken.high * 1e3:.4g}"
            rows.append(f"| {name} | {taken.value * 1e3:.4g} | {interval} |")
        return "\n".join(rows)


def _seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _timed(work: Work) -> Callable[[], Mapping[str, float]]:
    return lambda: {"all": _seconds(work)}


class Memory:
    """Memory traffic as the machine allows it: what floors are made of."""

    def __init__(self, megabytes: int = 256) -> None:
        holder = torch.nn.Module()
        for name in ("source", "target"):
            holder.register_buffer(name, torch.ones(megabytes << 18))
        place_in_large_pages(holder)
        self._source, self._target = holder.buffers()
        self.bytes = megabytes << 20

    def read(self) -> None:
        """Read :attr:`bytes`."""
        self._source.sum()

    def copy(self) -> None:
        """Read and write :attr:`bytes` each."""
        self._target.copy_(self._source)


def cycle(items: list[Any]) -> Callable[[], Any]:
    """The items in turn: copies of a weight, so that none is still in a cache."""
    state = {"next": 0}

    def following() -> Any:
        state["next"] = (state["next"] + 1) % len(items)
        return items[state["next"]]

    return following


def check(findings: list[Finding], part: str, *, record: bool) -> int:
    """Print the findings; record them, or compare them with what was recorded.

    Returns:
        How many are worse than recorded by more than the tolerance, over their whole interval.
    """
    print("\n## Findings\n")
    for finding in findings:
        print(f"- {finding}")
    content: dict[str, dict[str, dict[str, float]]] = {}
    if RECORDED.exists():
        content = json.loads(RECORDED.read_text("utf-8"))
    ours = content.setdefault(_machine(), {}).setdefault(part, {})
    if record:
        ours.update({finding.name: round(finding.ratio.value, 3) for finding in findings})
        RECORDED.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        return 0
    worse = 0
    unknown = [finding.name for finding in findings if finding.name not in ours]
    if unknown:
        print(f"\nNot recorded for {_machine()}, so not compared (--record records): {'; '.join(unknown)}")
    for finding in findings:
        before = ours.get(finding.name, -math.inf)
        best = finding.ratio.value if finding.ratio.high is None else finding.ratio.high
        if best < before * (1 - TOLERANCE):
            worse += 1
            print(f"\nWORSE than recorded ({before:.2f}): {finding}")
    return worse


def _machine() -> str:
    """Processor, threads and instruction set; a virtual machine hides a processor's name, not its family."""
    family = model = "?"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "cpu family":
                family = value.strip()
            elif name.strip() == "model":
                model = value.strip()
    except OSError:
        pass
    processor = f"{cpu_model()}, family {family}, model {model}"
    return f"{processor}, {torch.get_num_threads()} threads, {_native.path()}"
