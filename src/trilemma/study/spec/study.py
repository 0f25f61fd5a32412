"""The whole study: its blocks, which agree with one another, read from a file."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import PrivateAttr, ValidationError, model_validator

from trilemma.errors import DataError, StudyError
from trilemma.files import expanded
from trilemma.study.spec import consistency
from trilemma.study.spec.blocks import Blocks
from trilemma.study.spec.reading import explain, place
from trilemma.yaml_file import read_yaml


class Study(Blocks):
    """A study: which candidates, on which tasks, with which seeds, under which attacks, at what cost."""

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise StudyError(explain(error, Study)) from error

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # validation does not call it

    _written: tuple[yaml.Node, Path] | None = PrivateAttr(None)
    """The file's content and path."""

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        consistency.check(self)
        return self

    def at(self, *location: int | str) -> str:
        """File, line and field of a place, for the start of an error message; empty without a file."""
        return place(*self._written, location) if self._written else ""


def load_study(path: str | Path, **overrides: object) -> Study:
    """Read and check a study file.

    Args:
        path: a YAML file.
        overrides: top-level fields that replace those of the file, e.g. ``data="folder:data"``.

    Raises:
        StudyError: naming the line, the field and what would be right.
    """
    path = Path(path)
    content, root = read_yaml(path, "a study", StudyError)
    if root is None or not isinstance(content, dict):
        raise StudyError(
            f"{path} is not a study: its top level must be `field: value` lines (see `trilemma schema`)"
        )
    if "base" in content:
        raise StudyError(f"{path}: base is not a field here; paths start from the study file's folder")
    base = path.resolve().parent
    data = content.get("data")
    if isinstance(data, str) and data.startswith("folder:") and data != "folder:" and "data" not in overrides:
        # Like every path in the file; one given beside the file starts from the working folder.
        with suppress(DataError):  # the validation below names the line
            content["data"] = f"folder:{base / expanded(data.removeprefix('folder:'))}"
    try:
        study = Study.model_validate({**content, "base": base, **overrides})
    except ValidationError as error:
        raise StudyError(explain(error, Study, root, path, overrides)) from error
    study._written = root, path
    return study


def schema() -> dict[str, Any]:
    """The study's JSON schema, for editors."""
    document = Study.model_json_schema()
    document["properties"].pop("base", None)
    blocks = document["$defs"]
    for name in ("ModelSpec", "TaskSpec", "UserTaskSpec"):
        blocks[name]["properties"]["adapt"] = {"$ref": "#/$defs/AdaptSettings"}
    origins = (["arch", "size"], ["id"], ["path"], ["package"])
    blocks["ModelSpec"]["anyOf"] = [{"required": names} for names in origins]
    return {**document, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "trilemma study"}
