"""The study's tasks and examples, read once and checked before any work."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from trilemma.errors import DataError, StudyError
from trilemma.study.spec import AnyTask, OwnTaskSpec, SetSpec, Study
from trilemma.tasks import adversarial_from_user, from_user, get, open_source
from trilemma.tasks.task import AdversarialExamples, Examples, Source, Task


class StudyData:
    """Tasks by name and their examples, from the study's source and the user's own files."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._own: dict[str, Task] = {
            spec.name: from_user(spec.block, study.base)[0]
            for spec in study.tasks
            if isinstance(spec, OwnTaskSpec)
        }
        self._splits: dict[tuple[str, str], Examples] = {}
        self._sets: dict[tuple[str, str], list[AdversarialExamples]] = {}

    @cached_property
    def source(self) -> Source:
        """The study's data source."""
        return open_source(self._study.data)

    def task(self, name: str) -> Task:
        """The task called ``name``, the user's own first."""
        return self._own[name] if name in self._own else get(name)

    def examples(self, task: str, split: str) -> Examples:
        """One split of a task."""
        if (task, split) not in self._splits:
            known = self.task(task)
            source = known.data or self.source
            self._splits[task, split] = source.load(known, split)
        return self._splits[task, split]

    def training_task(self, task: str) -> str:
        """Name of the task whose training split serves ``task``: its own, except for AX (MNLI's)."""
        known = self.task(task)
        return known.trained_on.name if known.trained_on else task

    def evaluation(self, task: str) -> list[Examples]:
        """The labelled splits on which performance is measured."""
        return [self.examples(task, split) for split in self.task(task).evaluation_splits]

    def adversarial(self, task: str) -> list[AdversarialExamples]:
        """All fixed adversarial sets of the study that have something for ``task``."""
        found: dict[str, AdversarialExamples] = {}
        brought_by: dict[str, str] = {}
        for index, spec in enumerate(self._study.robustness.sets):
            name = _name(spec)
            for examples in self._set(task, spec):
                if examples.split in found:
                    raise StudyError(
                        f"{self._study.at('robustness', 'sets', index)}{name} and "
                        f"{brought_by[examples.split]} both bring {examples.split} for {task}; leave one out"
                    )
                found[examples.split], brought_by[examples.split] = examples, name
        return list(found.values())

    def own_sets(self) -> set[str]:
        """Names of the adversarial sets that come from the user's files, not from the study's source."""
        return {
            examples.split
            for spec in self._study.robustness.sets
            if isinstance(spec, SetSpec)
            for task in self._study.tasks
            for examples in self._set(task.name, spec)
        }

    def _set(self, task: str, spec: SetSpec | str) -> list[AdversarialExamples]:
        name = _name(spec)
        if (task, name) not in self._sets:
            self._sets[task, name] = self._read_set(task, spec)
        return self._sets[task, name]

    def _read_set(self, task: str, spec: SetSpec | str) -> list[AdversarialExamples]:
        if isinstance(spec, SetSpec):
            return adversarial_from_user(spec.block, self._study.base, self.task(task))
        known = self.task(task)
        return (known.data or self.source).adversarial(known, spec)

    def check(self) -> None:
        """Read everything the study names, so that a fault in the data is found before any work.

        Raises:
            DataError: naming file, row and what was expected.
            StudyError: an adversarial set that has nothing for any task.
        """
        for index, task in enumerate(self._study.tasks):
            with self._told_at("tasks", index):
                self._check_task(task)
        for index, spec in enumerate(self._study.robustness.sets):
            with self._told_at("robustness", "sets", index):
                if not any([self._set(task.name, spec) for task in self._study.tasks]):
                    raise StudyError(
                        f"adversarial set {_name(spec)!r} has nothing for this study's tasks; "
                        "remove it or add its task"
                    )
        for task in self._study.tasks:
            self.adversarial(task.name)

    def _check_task(self, spec: AnyTask) -> None:
        train = self.examples(self.training_task(spec.name), "train")
        if len(train) < 2:
            raise DataError(f"task {spec.name}: the train split has {len(train)} rows; at least 2 are needed")
        self.evaluation(spec.name)

    @contextmanager
    def _told_at(self, *location: int | str) -> Iterator[None]:
        """Say in which line of the study the block that is at fault stands."""
        try:
            yield
        except (DataError, StudyError) as error:
            raise type(error)(f"{self._study.at(*location)}{error}") from error


def _name(spec: SetSpec | str) -> str:
    return spec.name if isinstance(spec, SetSpec) else spec
