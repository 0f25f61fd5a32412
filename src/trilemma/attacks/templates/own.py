r"""A user's own templates, from a YAML or JSON file.

A list of objects, each with ``name``, ``reason`` (why the label holds) and one change: ``pattern`` (a
regular expression) with ``replacement``, or ``append``, or ``prepend``; and if wanted ``field`` (a column of
the task, by default every text) and ``labels`` (the classes for which the reason holds, by default all)::

    - name: colour
      reason: the colour of a thing is not what is asked
      field: sentence
      pattern: "\bred (car|house)\b"
      replacement: "blue \1"
"""

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import regex
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trilemma.attacks.templates.template import Template
from trilemma.errors import AttackError, DataError
from trilemma.tasks.reading import decode, expanded, one_line
from trilemma.tasks.task import Task, Text

LARGEST = 1 << 20
"""Bytes of a file of templates; a larger one is something else."""

LONGEST = 2000
"""Characters of a pattern and of what it puts in, so that a text stays one that people read."""

SECONDS = 1.0
"""Time for one pattern on one text: a pattern that takes longer never ends on some text."""


class OwnTemplate(BaseModel):
    """One template as it is written in the file; see the module's text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    field: str | None = None
    labels: tuple[str, ...] | None = None
    pattern: str | None = Field(None, min_length=1, max_length=LONGEST)
    replacement: str | None = Field(None, max_length=LONGEST)
    append: str | None = Field(None, max_length=LONGEST)
    prepend: str | None = Field(None, max_length=LONGEST)

    @model_validator(mode="after")
    def _one_change(self) -> "OwnTemplate":
        if (self.pattern is None) != (self.replacement is None):
            raise ValueError("`pattern` and `replacement` belong together")
        if sum(one is not None for one in (self.pattern, self.append, self.prepend)) != 1:
            raise ValueError("expected one of `pattern` with `replacement`, `append`, `prepend`")
        return self


class _Loader(yaml.SafeLoader):
    """Without aliases: a short file of them stands for a text without end."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read; write the value out")
        return super().compose_node(parent, index)


def read_templates(path: str | Path, task: Task | None) -> tuple[Template, ...]:
    """The templates of a file, for a task.

    Args:
        path: the file; JSON is YAML too.
        task: whose columns and classes they name.

    Raises:
        AttackError: naming the file, the template and what was expected.
    """
    if task is None or task.labels is None:
        raise AttackError("templates need a task with classes; name the task whose items are attacked")
    found: list[Template] = []
    for number, raw in enumerate(_list(path), start=1):
        where = f"{path}, template {number}"
        try:
            own = OwnTemplate.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            message = one_line(first["msg"]).removeprefix("Value error, ")
            raise AttackError(f"{where}: {f'`{place}`: ' if place else ''}{message}") from error
        found.append(_template(own, task, where))
    if not found:
        raise AttackError(f"{path} has no templates; expected a list of at least one")
    return tuple(found)


def _list(path: str | Path) -> Sequence[Any]:
    try:
        place = expanded(path)
        size = place.stat().st_size
        if not place.is_file() or size > LARGEST:
            raise AttackError(f"{path} is no file of templates; expected a file of at most {LARGEST:,} bytes")
        content = yaml.load(decode(place.read_bytes(), str(path)), _Loader)
    except (OSError, ValueError, DataError, yaml.YAMLError, RecursionError) as error:
        raise AttackError(f"templates cannot be read from {path}: {one_line(error)}") from error
    if not isinstance(content, list):
        raise AttackError(f"{path}: expected a list of templates, found {type(content).__name__}")
    return content


def _template(own: OwnTemplate, task: Task, where: str) -> Template:
    if own.field is not None and own.field not in task.fields:
        raise AttackError(f"{where}: {task.name} has no field {own.field!r}, only {', '.join(task.fields)}")
    for label in own.labels or ():
        if label not in (task.labels or ()):
            classes = ", ".join(task.labels or ())
            raise AttackError(f"{where}: {task.name} has no class {label!r}, only {classes}")
    if own.pattern is not None:
        try:
            _compiled(own.pattern).sub(own.replacement or "", "")
        except (regex.error, IndexError, RecursionError, OverflowError) as error:
            raise AttackError(f"{where}: `pattern` or `replacement` is wrong: {one_line(error)}") from error
    places = range(len(task.fields)) if own.field is None else (task.fields.index(own.field),)

    def rewrite(text: Text, rng: random.Random) -> list[Text]:
        return [
            tuple(_changed(part, own, where) if place in places else part for place, part in enumerate(text))
        ]

    return Template(
        own.name, "own", own.reason, rewrite, None if own.labels is None else frozenset(own.labels)
    )


def _changed(text: str, own: OwnTemplate, where: str) -> str:
    if own.append is not None:
        return f"{text.rstrip()} {own.append}"
    if own.prepend is not None:
        return f"{own.prepend} {text}"
    try:
        return _compiled(own.pattern or "").sub(own.replacement or "", text, timeout=SECONDS)
    except TimeoutError as error:
        raise AttackError(f"{where}: `pattern` takes over {SECONDS} s on one text; simplify it") from error
    except (regex.error, IndexError) as error:
        raise AttackError(f"{where}: `replacement` is wrong: {one_line(error)}") from error


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> "regex.Pattern[str]":
    return regex.compile(pattern)
