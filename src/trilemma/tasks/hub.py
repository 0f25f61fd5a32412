"""Examples from the Hugging Face Hub, through ``datasets`` and its cache."""

from collections.abc import Mapping, Sequence

from trilemma.errors import DataError, one_line
from trilemma.tasks.published import Collection, PublishedSource
from trilemma.tasks.raw_table import RawTable, require_columns

REPOSITORIES: Mapping[Collection, str] = {
    "glue": "nyu-mll/glue",
    "advglue": "AI-Secure/adv_glue",
    "anli": "facebook/anli",
}


class HubSource(PublishedSource):
    """GLUE, AdvGLUE (without levels and originals) and ANLI as published on the hub.

    The environment variables of ``datasets`` apply: ``HF_ENDPOINT``, ``HF_HOME``, ``HF_HUB_OFFLINE``.
    """

    @property
    def description(self) -> str:
        """Where the examples came from."""
        return "Hugging Face Hub"

    def table(
        self, collection: Collection, name: str, split: str, required: Sequence[str], optional: Sequence[str]
    ) -> RawTable:
        """Download (or find in the cache) one split and read the named columns."""
        repository = REPOSITORIES[collection]
        where = f"{repository} ({name}, {split})"
        import datasets

        try:
            data = datasets.load_dataset(repository, name, split=split)
            names = list(data.column_names)
            require_columns(where, names, required)
            wanted = [*required, *(column for column in optional if column in names)]
            table = RawTable(where, data.select_columns(wanted).with_format("arrow")[:].to_pydict())
        except DataError:
            raise
        except Exception as error:  # the libraries raise all kinds of errors: network, cache, format, disk
            raise DataError(
                f"cannot read {where} from the Hugging Face Hub ({type(error).__name__}: {one_line(error)}); "
                "connect once, so that the cache has it, or give the data as folder:PATH"
            ) from error
        if not len(table):
            raise DataError(f"{where} has no rows; expected at least one")
        return table
