"""By line and field what is wrong with a study."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trilemma.adapt.settings import AdaptSettings
from trilemma.errors import one_line
from trilemma.units import counted
from trilemma.yaml_file import at

Location = Sequence[int | str]


def explain(
    error: ValidationError,
    model: type[BaseModel],
    root: yaml.Node | None = None,
    path: Path | None = None,
    overrides: Mapping[str, object] = MappingProxyType({}),
) -> str:
    """What is wrong with a study, by line and field, at most three faults.

    Args:
        error: what the validation of ``model`` raised.
        model: the model of the whole study.
        root: the file's nodes; None for a study that is not from a file.
        path: the file.
        overrides: top-level fields that did not come from the file but from the command line.
    """
    located = [(_written(root, detail["loc"]), detail) for detail in error.errors(include_url=False)]
    found: dict[str, None] = {}  # each once
    for location, detail in _informative(located):
        where = f"{_dotted(location)}: "
        if location and location[0] in overrides:
            where = f"--{where}"
        elif root is not None and path is not None:
            where = place(root, path, location)
        found[f"{where}{_message(detail, model)}"] = None
    problems = list(found)
    more = f" (and {counted(len(problems) - 3, 'more fault')})" if len(problems) > 3 else ""
    return "\n".join(problems[:3]) + more


def place(root: yaml.Node, path: Path, location: Location) -> str:
    """File, line and field of a place in a study, for the start of an error message."""
    begins, node = root, root
    for part in location:
        key, inner = _entry(node, part)
        if key is None or inner is None:
            break
        begins, node = key, inner
    return f"{at(path, begins)}: {_dotted(location)}: "


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location) or "the study"


def _written(root: yaml.Node | None, location: Location) -> tuple[int | str, ...]:
    """A location as the file has it: without the names of alternatives that pydantic puts between."""
    node = root
    found: list[int | str] = []
    for part in location:
        inner = _entry(node, part)[1]
        if inner is None and isinstance(part, str) and _ALTERNATIVE.match(part):
            continue
        if isinstance(node, yaml.MappingNode) and part == 0:  # one block stands for a list of one
            continue
        found.append(part)
        node = inner
    return tuple(found)


_ALTERNATIVE = re.compile(r"[A-Z]\w*$|constrained-\w+$|(float|int|str)$|\w+[-\w]*\[")


def _entry(node: yaml.Node | None, part: int | str) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Where a part of a location begins (in a block at its key), and what stands there, if it exists."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if str(key.value) == str(part)), (None, None))
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None, None


def _informative(
    located: list[tuple[tuple[int | str, ...], ErrorDetails]],
) -> Iterator[tuple[tuple[int | str, ...], ErrorDetails]]:
    """Without what only follows from a fault further inside, or from an alternative that was not meant."""
    for location, detail in located:
        if detail["type"] == "too_short" or _is_of_type(detail):
            deep = len(location)
            inside = any(len(other) > deep and other[:deep] == location for other, _ in located)
            beside = _is_of_type(detail) and any(
                other == location and not _is_of_type(also) for other, also in located
            )
            if inside or beside:
                continue
        yield location, detail


def _is_of_type(detail: ErrorDetails) -> bool:
    return detail["type"].endswith(("_type", "_parsing")) or detail["type"] == "literal_error"


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind, message = detail["type"], detail["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        known = ", ".join(_fields_at(model, detail["loc"][:-1])) or "see `trilemma schema`"
        files = "; a task from your files also needs `files`" if "TaskSpec" in detail["loc"] else ""
        return f"is not a field here; known: {known}{files}"
    if kind == "too_short":
        return f"needs at least {counted(detail['ctx']['min_length'], 'entry')}"
    if kind == "too_long":
        most, given = counted(detail["ctx"]["max_length"], "entry"), detail["ctx"]["actual_length"]
        return f"takes at most {most}, not {given}"
    if kind == "string_pattern_mismatch" and detail["ctx"]["pattern"].startswith("^[A-Za-z0-9]["):
        message = "Input should be at most 80 letters, digits and ._+- that begin with a letter or digit"
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    if not message.startswith("should "):
        return message
    given = detail["input"]
    quote = "; put it in quotes" if kind == "string_type" and not isinstance(given, dict | list) else ""
    return f"{message}, not {one_line(repr(given), 60)}{quote}"


_WORDS = (
    (r"^(Input|String|Dictionary|Tuple|List) should ", "should "),
    (r"a valid (dictionary|mapping)( or instance of \w+)?", "a block of `field: value`"),
    (r"a valid (tuple|list)", "a list"),
    (r"a valid string", "text"),
    (r"^Input is not a valid path.*", "should be a path"),
    (r"a valid boolean.*", "true or false"),
    (r"a valid integer.*", "a whole number"),
    (r"a valid number.*", "a number"),
    (r"should match pattern '\^\(embedded\|hub\|folder:\.\+\)\$'", "should be embedded, hub or folder:PATH"),
)
"""Pydantic's words in those of YAML."""


def _fields_at(model: type[BaseModel], location: Location) -> Iterator[str]:
    """Names of the fields of the block at ``location``, for the error about an unknown one."""
    choices = [model]
    for part in location:
        if isinstance(part, int):
            continue
        if named := [choice for choice in choices if re.search(rf"\b{choice.__name__}\b", part)]:
            choices = named
            continue
        field = choices[0].model_fields.get(part) if choices else None
        choices = list(_blocks_in(field.annotation)) if field else []
        if part == "adapt" and not choices:  # settings for one model or task
            choices = [AdaptSettings]
    yield from (name for choice in choices[:1] for name in choice.model_fields if name != "base")


def _blocks_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _blocks_in(inner)
