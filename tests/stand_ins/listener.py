"""What a study's runner tells, kept."""

from collections.abc import Callable

from trilemma.progress import Progress, silent
from trilemma.study.graph import Graph
from trilemma.study.stage import Stage


class Events:
    """A listener that keeps what it is told.

    Args:
        at: called with each event's text, for a test that interferes.
    """

    def __init__(self, at: Callable[[str], None] = lambda text: None) -> None:
        self.at = at
        self.notices: list[str] = []
        self.computed: list[str] = []
        self.reused: list[str] = []
        self.failed: dict[str, str] = {}

    def preparing(self, what: str) -> None:
        self.at(what)

    def planned(self, graph: Graph) -> None:
        self.at("planned")

    def notice(self, what: str) -> None:
        self.notices.append(what)

    def started(self, stage: Stage) -> Progress:
        self.at(f"started {stage}")
        return silent

    def finished(self, stage: Stage, seconds: float, *, reused: bool, failure: str) -> None:
        if failure:
            self.failed[str(stage)] = failure
        elif reused:
            self.reused.append(str(stage))
        else:
            self.computed.append(str(stage))
