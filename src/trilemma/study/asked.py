"""The task that a command names: by its name alone, or one of a study's file or of a finished run."""

import json
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from trilemma.errors import StoreError, StudyError
from trilemma.study.data import StudyData
from trilemma.study.spec import Study, load_study
from trilemma.tasks import get, open_source
from trilemma.tasks.task import Task


def find_task(
    name: str | None,
    *,
    study: str | Path | None = None,
    run: str | Path | None = None,
    data: str | None = None,
) -> Task:
    """A task whose ``data`` reads its examples.

    Args:
        name: the task's name; may be None where the study has one task.
        study: the study file that has the task, where it is one of the user's files.
        run: the run folder of a study that has it.
        data: ``embedded``, ``hub`` or ``folder:PATH``, for tasks that have no data of their own; default the
            study's, or ``embedded``.

    Raises:
        TrilemmaError: where there is no such task, or the study cannot be read.
    """
    if study is not None and run is not None:
        raise StudyError("--study and --run both name a study; give one of them")
    if study is None and run is None:
        if name is None:
            raise StudyError("name the task with --task, or the study that has it with --study or --run")
        known = get(name)
        return replace(known, data=known.data or open_source(data or "embedded"))
    found = load_study(study) if study is not None else study_of(Path(run or "."))
    names = [task.name for task in found.tasks]
    if name is None and len(names) > 1:
        raise StudyError(f"the study has the tasks {', '.join(names)}; name one with --task")
    if name is not None and name not in names:
        raise StudyError(f"the study has no task {name!r}; it has {', '.join(names)}")
    known = StudyData(found).task(name or names[0])
    return replace(known, data=known.data or open_source(data or found.data))


def study_of(run: Path) -> Study:
    """The study of a run folder.

    Raises:
        StoreError: where the folder has none that this version can read.
    """
    path = run / "study.json"
    try:
        return Study.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise StoreError(f"{path} is absent or cannot be read; name the study's file with --study") from error


def adapted_model(run: Path, model: str, task: str) -> str:
    """The folder of a run's candidate, adapted to a task with the first seed; ``model`` where it is none."""
    path = run / "checkpoints.json"
    try:
        rows = json.loads(path.read_text("utf-8"))
        folders = [str(row["folder"]) for row in rows if (row["model"], row["task"]) == (model, task)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is absent or cannot be read; name an adapted model's folder") from error
    return folders[0] if folders else model
