"""What is shown of running work: bars on a terminal, elsewhere a line by time."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn

from trilemma.progress import Progress as ProgressCallback
from trilemma.study.graph import Graph
from trilemma.study.stage import Stage
from trilemma.terminal import print_lines

_FLOOR = 3e10
"""Operations that every stage is taken to cost beyond its estimate: loading, saving, starting."""

_FIRST_SHARE = 0.02
"""Share of all work that must be done before the time left can be estimated."""


EVERY = 30.0
"""Seconds between lines about work that goes on, where there is no terminal."""


@contextmanager
def _display(console: Console, every: float) -> Iterator[Progress]:
    """Bars on a terminal, a line by time elsewhere; names of models and the like are not markup."""
    display = Progress(
        TextColumn("{task.fields[what]}", style="bold", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%", markup=False),
        TextColumn("{task.fields[rate]}", style="cyan", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", style="green", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    if console.is_terminal:
        with display:
            yield display
        return
    finished = threading.Event()

    def speak() -> None:
        while not finished.wait(every):
            for task in list(display.tasks)[-1:]:  # the innermost: a stage, not the whole
                if (task.elapsed or 0.0) >= every:
                    print_lines(console, _line(task), style="dim")

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield display
    finally:
        finished.set()
        thread.join()


def _line(task: Task) -> str:
    """A bar in words."""
    fields, share = task.fields, f"{task.percentage:.0f}%" if task.total else ""
    running = f"for {duration(task.elapsed or 0.0)}"
    return f"{fields['what']}: {', '.join(filter(None, (running, share, fields['rate'], fields['left'])))}"


def _add_bar(display: Progress, what: str) -> tuple[TaskID, ProgressCallback]:
    """A bar with rate and time left, and what its work reports to."""
    bar = display.add_task("", total=None, what=what, rate="", left="")
    began = time.monotonic()

    def report(done: float, total: float, unit: str) -> None:
        elapsed = time.monotonic() - began
        speed = done / elapsed if elapsed > 0 else 0.0
        # A share without a unit, or one that takes long, has no rate that says anything.
        rate = f"{speed:,.{0 if speed >= 10 else 1}f} {unit}/s" if unit and speed >= 0.05 else ""
        left = f"{duration((total - done) * elapsed / done)} left" if done and elapsed > 1 else ""
        display.update(bar, total=total, completed=done, rate=rate, left=left)

    return bar, report


@contextmanager
def progress_bar(
    what: str, console: Console | None = None, every: float = EVERY
) -> Iterator[ProgressCallback]:
    """A live bar for one piece of work, with rate and time left; a line by time where there is no terminal.

    It is on standard error by default, so that what a command prints can be read by another program.
    """
    with _display(console or Console(stderr=True), every) as display:
        yield _add_bar(display, what)[1]


class ConsoleListener:
    """Shows a run on a terminal; elsewhere prints a line per finished stage, and by time inside a stage."""

    def __init__(self, console: Console, every: float = EVERY) -> None:
        self._console = console
        self._live = console.is_terminal
        self._open = ExitStack()
        self._display = self._open.enter_context(_display(console, every))
        self._whole = self._display.add_task("", total=None, what="", rate="", left="")
        self._part: TaskID | None = None
        self._count = self._total = 0
        self._work_done = self._work_total = self._seconds = 0.0

    def __enter__(self) -> "ConsoleListener":
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def preparing(self, what: str) -> None:
        """Show what happens before the first stage or after the last."""
        self._display.update(self._whole, what=what)
        if not self._live:
            print_lines(self._console, f"{what} ...", style="dim")

    def notice(self, what: str) -> None:
        """Print what stays on the screen."""
        print_lines(self._console, what, style="yellow")

    def planned(self, graph: Graph) -> None:
        """Show how many stages there are."""
        self._total = len(graph.stages)
        self._work_total = sum(stage.estimate.work + _FLOOR for stage in graph.stages)
        self._display.update(self._whole, total=1.0, completed=0.0)

    def started(self, stage: Stage) -> ProgressCallback:
        """Show a stage and return what it reports to."""
        began = time.monotonic()
        self._part, report_part = _add_bar(self._display, f"  {stage}")

        def report(done: float, total: float, unit: str) -> None:
            report_part(done, total, unit)
            share = done / total if total else 0.0
            self._whole_progress(stage.estimate.work * share, time.monotonic() - began)

        self._whole_progress(0.0, 0.0)
        return report

    def finished(self, stage: Stage, seconds: float, *, reused: bool, failure: str) -> None:
        """Count a stage; name it if it failed or if there is no live display."""
        self._count += 1
        if self._part is not None:
            self._display.remove_task(self._part)
            self._part = None
        if reused or (failure and not seconds):
            self._work_total -= stage.estimate.work + _FLOOR
        else:
            self._work_done += stage.estimate.work + _FLOOR
            self._seconds += seconds
        self._whole_progress(0.0, 0.0)
        if failure:
            self.notice(f"failed {stage}: {failure}")
        elif not self._live:
            how = "reused" if reused else f"{seconds:.1f} s"
            said = ", ".join(filter(None, (how, self._left(0.0, 0.0))))
            print_lines(self._console, f"[{self._count}/{self._total}] {stage}: {said}")

    def _whole_progress(self, work: float, elapsed: float) -> None:
        done = self._work_done + work
        self._display.update(
            self._whole,
            what=f"stage {min(self._count + 1, self._total)} of {self._total}",
            completed=done / self._work_total if self._work_total > 0 else 1.0,
            left=self._left(work, elapsed),
        )

    def _left(self, work: float, elapsed: float) -> str:
        """Time left, at the rate of the work done so far in this run."""
        done, seconds = self._work_done + work, self._seconds + elapsed
        if seconds < 2 or done < _FIRST_SHARE * self._work_total:
            return ""
        return f"{duration(max(0.0, self._work_total - done) * seconds / done)} left"


def duration(seconds: float) -> str:
    """In the largest unit of which there are at least two."""
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.0f} seconds"
