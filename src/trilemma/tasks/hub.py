"""Examples from the Hugging Face Hub, through ``datasets`` and its cache."""

from collections.abc import Sequence

from trilemma.errors import DataError
from trilemma.tasks import advglue, anli
from trilemma.tasks.columns import examples
from trilemma.tasks.reading import RawTable, one_line, require_columns
from trilemma.tasks.task import AdversarialExamples, Examples, Task

GLUE = "nyu-mll/glue"
ADVGLUE = "AI-Secure/adv_glue"
ANLI = "facebook/anli"


class HubSource:
    """GLUE, AdvGLUE (without levels and originals) and ANLI as published on the hub.

    ``HF_ENDPOINT``, ``HF_HOME`` and ``HF_HUB_OFFLINE`` mean what they mean to ``datasets``.
    """

    @property
    def description(self) -> str:
        """Where the examples came from."""
        return "Hugging Face Hub"

    def load(self, task: Task, split: str) -> Examples:
        """One split of a GLUE task."""
        stored = task.trained_on if split == "train" and task.trained_on else task
        return examples(task, split, _read(GLUE, stored.name, split, [*task.fields, "label"], ["idx"]))

    def adversarial(self, task: Task, name: str) -> list[AdversarialExamples]:
        """``advglue`` or ``anli`` for a task; empty where the set has nothing for it."""
        if name == "advglue":
            return [self._advglue(task, subset) for subset in advglue.SUBSETS.get(task.name, ())]
        if name == "anli":
            return [self._anli(task, one) for one in anli.ROUNDS] if anli.serves(task) else []
        raise DataError(f"no adversarial set {name!r} on the hub; known: advglue, anli, or a set of your own")

    def _advglue(self, task: Task, subset: advglue.Subset) -> AdversarialExamples:
        table = _read(ADVGLUE, subset.name, "validation", *advglue.columns(task))
        return advglue.from_table(task, subset.name, table, subset.dev_rows)

    def _anli(self, task: Task, name: str) -> AdversarialExamples:
        return anli.from_table(task, name, _read(ANLI, "plain_text", f"dev_{name}", *anli.columns(task)))


def _read(
    repository: str, configuration: str, split: str, required: Sequence[str], optional: Sequence[str]
) -> RawTable:
    """Download (or find in the cache) one split and read the named columns."""
    where = f"{repository} ({configuration}, {split})"
    import datasets

    try:
        data = datasets.load_dataset(repository, configuration, split=split)
        names = list(data.column_names)
        require_columns(where, names, required)
        wanted = [*required, *(name for name in optional if name in names)]
        table = RawTable(where, data.select_columns(wanted).with_format("arrow")[:].to_pydict())
    except DataError:
        raise
    except Exception as error:  # whatever the libraries below raise: network, cache, format, disk
        raise DataError(
            f"cannot read {where} from the Hugging Face Hub ({type(error).__name__}: {one_line(error)}); "
            "connect once, after which the cache serves, or give the data as folder:PATH"
        ) from error
    if not len(table):
        raise DataError(f"{where} has no rows; expected at least one")
    return table
