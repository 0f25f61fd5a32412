"""The study's tasks and examples, read once and checked before any work."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trilemma.errors import DataError, StudyError, one_line
from trilemma.files import expanded, sha256
from trilemma.study.spec import SetSpec, Study, UserTaskSpec
from trilemma.tasks import adversarial_from_user, from_user, get, open_source
from trilemma.tasks.task import AdversarialExamples, Examples, Source, Task


@dataclass(frozen=True)
class Corpus:
    """The files that models are pretrained on."""

    paths: tuple[Path, ...]
    fingerprint: tuple[str, ...]


class StudyData:
    """Tasks by name and their examples, from the study's source and the user's files."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._of_user: dict[str, Task] = {
            spec.name: from_user(spec.model_dump(exclude={"adapt"}, exclude_unset=True), study.base)[0]
            for spec in study.tasks
            if isinstance(spec, UserTaskSpec)
        }
        self._splits: dict[tuple[str, str], Examples] = {}
        self._sets: dict[tuple[str, str], list[AdversarialExamples]] = {}

    @cached_property
    def source(self) -> Source:
        """The study's data source."""
        return open_source(self._study.data)

    def task(self, name: str) -> Task:
        """The task called ``name``, the user's first."""
        return self._of_user[name] if name in self._of_user else get(name)

    def examples(self, task: str, split: str) -> Examples:
        """One split of a task."""
        if (task, split) not in self._splits:
            known = self.task(task)
            source = known.data or self.source
            self._splits[task, split] = source.load(known, split)
        return self._splits[task, split]

    def training_task(self, task: str) -> str:
        """Name of the task whose training split serves ``task``: the same one, except for AX (MNLI's)."""
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

    @property
    def named_sets(self) -> set[str]:
        """Names that the user gave to adversarial sets; AdvGLUE's own file brings the names of its sets."""
        sets = self._study.robustness.sets
        return {spec.name for spec in sets if isinstance(spec, SetSpec) and spec.advglue is None}

    def user_sets(self) -> set[str]:
        """Names of the adversarial sets that come from the user's files, not from the study's source."""
        return {
            examples.split
            for spec in self._study.robustness.sets
            if isinstance(spec, SetSpec)
            for task in self._study.tasks
            for examples in self._set(task.name, spec)
        }

    @cached_property
    def corpus(self) -> Corpus:
        """The files of the study's `pretrain` block, in the data folder or by path.

        Raises:
            StudyError: when one is in neither place.
        """
        study = self._study
        assert study.pretrain is not None
        roots = [study.base]
        if study.data.startswith("folder:"):
            roots.insert(0, expanded(study.data.removeprefix("folder:")))
        found = []
        for name in study.pretrain.corpus:
            candidates = [root / name for root in roots]
            existing = [path for path in candidates if os.path.isfile(path)]
            if not existing:
                places = " or ".join(one_line(path) for path in candidates)
                raise StudyError(
                    f"pretrain.corpus: there is no file {places}; name text or Parquet files that exist"
                )
            found.append(existing[0])
        return Corpus(tuple(found), tuple(sha256(path) for path in found))

    def _set(self, task: str, spec: SetSpec | str) -> list[AdversarialExamples]:
        name = _name(spec)
        if (task, name) not in self._sets:
            self._sets[task, name] = self._read_set(task, spec)
        return self._sets[task, name]

    def _read_set(self, task: str, spec: SetSpec | str) -> list[AdversarialExamples]:
        if isinstance(spec, SetSpec):
            block = spec.model_dump(exclude_unset=True)
            return adversarial_from_user(block, self._study.base, self.task(task))
        known = self.task(task)
        return (known.data or self.source).adversarial(known, spec)

    def check(self) -> None:
        """Read everything the study names, so that a fault in the data is found before any work.

        Raises:
            DataError: naming file, row and what was expected.
            StudyError: an adversarial set that has nothing for any task.
        """
        for index, task in enumerate(self._study.tasks):
            with self._located("tasks", index):
                rows = len(self.examples(self.training_task(task.name), "train"))
                if rows < 2:
                    raise DataError(
                        f"task {task.name}: the train split has {rows} rows; at least 2 are needed"
                    )
                self.evaluation(task.name)
        for index, spec in enumerate(self._study.robustness.sets):
            with self._located("robustness", "sets", index):
                if not any([self._set(task.name, spec) for task in self._study.tasks]):
                    raise StudyError(
                        f"adversarial set {_name(spec)!r} has nothing for this study's tasks; "
                        "remove it or add its task"
                    )
        for task in self._study.tasks:
            self.adversarial(task.name)

    @contextmanager
    def _located(self, *location: int | str) -> Iterator[None]:
        """Name the line of the study at which the block stands that is at fault."""
        try:
            yield
        except (DataError, StudyError) as error:
            raise type(error)(f"{self._study.at(*location)}{error}") from error


def _name(spec: SetSpec | str) -> str:
    return spec.name if isinstance(spec, SetSpec) else spec
