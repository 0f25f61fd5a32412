"""Who has any skill on clean text: the robustness of the others means nothing."""

from collections.abc import Sequence
from typing import Final

from trilemma.report.cautions import MEANINGLESS
from trilemma.report.evidence import Evidence
from trilemma.report.metrics import METRICS
from trilemma.report.values import Candidate, Value

NO_SKILL: Final = "no skill"


def meaningless_on(value: Value) -> tuple[str, ...]:
    """The tasks on which the note of a robustness over tasks calls it meaningless."""
    _, found, tasks = value.note.partition(f"{MEANINGLESS} for ")
    return tuple(tasks.split("; ")[0].split(", ")) if found else ()


def without_skill(evidence: Evidence) -> frozenset[str]:
    """The candidates that are not distinguishably above the majority class on any task of axis R."""
    robust = METRICS["robust_accuracy"]
    tasks = set(evidence.tasks(robust))
    return frozenset(
        candidate.name
        for candidate in evidence.candidates
        if tasks and tasks <= set(meaningless_on(evidence.value(robust, candidate)))
    )


def with_skill(evidence: Evidence, among: Sequence[Candidate]) -> list[Candidate]:
    """Those that may be called best, in their order."""
    lacking = without_skill(evidence)
    return [candidate for candidate in among if candidate.name not in lacking]
