"""Who has any skill on clean text: the robustness of the others means nothing."""

from collections.abc import Sequence
from typing import Final

from trilemma.analysis.cautions import MEANINGLESS
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.metrics import METRICS
from trilemma.analysis.values import Candidate, Value

NO_SKILL: Final = "no skill"


def meaningless_on(value: Value) -> tuple[str, ...]:
    """The tasks on which the note of a robustness over tasks calls it meaningless."""
    _, found, tasks = value.note.partition(f"{MEANINGLESS} for ")
    return tuple(tasks.split("; ")[0].split(", ")) if found else ()


def without_skill(evidence: Evidence, *, attacked: bool = False) -> frozenset[str]:
    """The candidates that are not distinguishably above the majority class on any task.

    Args:
        evidence: the study's two tables.
        attacked: on any task that is attacked; a task that is not may show skill.
    """
    robust = METRICS["robust_accuracy"]
    tasks = set(evidence.tasks(robust))
    if tasks and not attacked:
        tasks |= set(evidence.tasks(METRICS["accuracy"]))
    return frozenset(
        candidate.name
        for candidate in evidence.candidates
        if tasks and tasks <= set(meaningless_on(evidence.value(robust, candidate)))
    )


def with_skill(evidence: Evidence, among: Sequence[Candidate], *, attacked: bool = False) -> list[Candidate]:
    """Those that may be called best, in their order."""
    lacking = without_skill(evidence, attacked=attacked)
    return [candidate for candidate in among if candidate.name not in lacking]
