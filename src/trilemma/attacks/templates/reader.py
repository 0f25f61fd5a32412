r"""Templates from a YAML or JSON file: a user's own, and those of the package.

A list of objects, each with ``name``, ``reason`` (why the label holds) and one change:

* ``pattern`` (a regular expression) with ``replacement``;
* ``append`` or ``prepend``: a text, added as it is written;
* ``forms``: a list of texts, each with ``TEXT`` where the item's text is; what is added gets the capitals and
  the spaces before marks that the text has. There is one form of the item for each;
* ``clauses``: the same, where a plain statement becomes a part of a longer one;
* ``rewrite``: a change that needs code, by its name in :data:`CHANGES` or :data:`REWRITES`.

If wanted ``field`` (a column of the task or its number, by default every text) and ``labels`` (the classes
for which the reason holds, by default all)::

    - name: colour
      reason: the colour of a thing is not what is asked
      field: sentence
      pattern: "\\bred (car|house)\\b"
      replacement: "blue \\1"
"""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trilemma.attacks.templates import additions, numbers, swaps
from trilemma.attacks.templates.additions import Change
from trilemma.attacks.templates.contractions import contracted, expanded
from trilemma.attacks.templates.template import Family, Rewrite, Template
from trilemma.errors import AttackError, one_line
from trilemma.files import expanded as expanded_path
from trilemma.tasks.task import Task, Text
from trilemma.yaml_file import read_yaml

CHANGES: Mapping[str, Callable[[random.Random], Sequence[Change]]] = {
    "arithmetic": additions.sums_beside,
    "arithmetic joined": additions.sums_joined,
    "contraction": lambda rng: [contracted],
    "contraction of not": lambda rng: [partial(contracted, only_not=True)],
    "double negation": lambda rng: additions.DENIALS,
    "expansion": lambda rng: [expanded],
}
"""What ``rewrite`` may name: changes of one text, of which each makes one form."""

REWRITES: Mapping[str, Rewrite] = {
    "exact number": numbers.exact,
    "names": swaps.swapped_names,
    "names and Bill": partial(swaps.swapped_names, extra_men=("Bill",)),
    "numbers": swaps.swapped_numbers,
    "other order": lambda text, rng: [text[::-1]],
    "places": swaps.swapped_places,
    "smaller number": numbers.smaller,
}
"""What ``rewrite`` may name besides: changes of an item that need all of its texts."""

LONGEST = 2000
"""Largest number of characters of a pattern or of added text, so that people can still read the result."""

SECONDS = 1.0
"""Time limit of one pattern on one text: a pattern that takes longer never ends on some texts."""

_KINDS = ("pattern", "append", "prepend", "forms", "clauses", "rewrite")


class WrittenTemplate(BaseModel):
    """One template as written in the file; see the module's docstring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    family: Family = "user"
    field: int | str | None = None
    labels: tuple[str, ...] | None = None
    pattern: str | None = Field(None, min_length=1, max_length=LONGEST)
    replacement: str | None = Field(None, max_length=LONGEST)
    append: str | None = Field(None, max_length=LONGEST)
    prepend: str | None = Field(None, max_length=LONGEST)
    forms: tuple[str, ...] | None = Field(None, min_length=1)
    clauses: tuple[str, ...] | None = Field(None, min_length=1)
    rewrite: str | None = None

    @model_validator(mode="after")
    def _one_change(self) -> "WrittenTemplate":
        if (self.pattern is None) != (self.replacement is None):
            raise ValueError("`pattern` and `replacement` belong together")
        if sum(getattr(self, kind) is not None for kind in _KINDS) != 1:
            raise ValueError(
                "expected one of `pattern` with `replacement`, `append`, `prepend`, `forms`, `clauses`, "
                "`rewrite`"
            )
        for form in (*(self.forms or ()), *(self.clauses or ())):
            if form.count(additions.TEXT) != 1 or len(form) > LONGEST:
                raise ValueError(
                    f"expected {additions.TEXT} once in at most {LONGEST} characters: {form[:80]!r}"
                )
        if self.rewrite is not None and self.rewrite not in (*CHANGES, *REWRITES):
            raise ValueError(f"`rewrite` is one of {', '.join(sorted((*CHANGES, *REWRITES)))}")
        if self.rewrite in REWRITES and self.field is not None:
            raise ValueError(f"`{self.rewrite}` needs all texts of an item; leave out `field`")
        return self


def read_templates(path: str | Path, task: Task | None) -> tuple[Template, ...]:
    """The templates of a file (JSON is YAML too) that names columns and classes of a task.

    Raises:
        AttackError: naming the file, the template and what was expected.
    """
    if task is None or task.labels is None:
        raise AttackError("templates need a task with classes; name the task whose items are attacked")
    place = expanded_path(path)
    found, _ = read_yaml(place, "a list of templates", AttackError)
    if not isinstance(found, list):
        raise AttackError(f"{path}: expected a list of templates, found {type(found).__name__}")
    return templates_from(found, task, str(path))


def templates_from(written: Sequence[Any], task: Task, name: str) -> tuple[Template, ...]:
    """The templates in the list of a file of that name, for a task with classes.

    Raises:
        AttackError: naming the template and what was expected.
    """
    found: list[Template] = []
    for number, raw in enumerate(written, start=1):
        where = f"{name}, template {number}"
        try:
            one = WrittenTemplate.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            message = one_line(first["msg"]).removeprefix("Value error, ")
            raise AttackError(f"{where}: {f'`{place}`: ' if place else ''}{message}") from error
        found.append(_template(one, task, where))
    if not found:
        raise AttackError(f"{name} has no templates; expected a list of at least one")
    return tuple(found)


def _template(written: WrittenTemplate, task: Task, where: str) -> Template:
    places = range(len(task.fields))
    if written.field is not None:
        if written.field not in (*task.fields, *places):
            raise AttackError(
                f"{where}: {task.name} has no field {written.field!r}, only {', '.join(task.fields)}"
            )
        place = task.fields.index(written.field) if isinstance(written.field, str) else written.field
        places = range(place, place + 1)
    for label in written.labels or ():
        if label not in (task.labels or ()):
            classes = ", ".join(task.labels or ())
            raise AttackError(f"{where}: {task.name} has no class {label!r}, only {classes}")
    if written.pattern is not None:
        try:
            regex.sub(written.pattern, written.replacement or "", "")
        except (regex.error, IndexError, RecursionError, OverflowError) as error:
            raise AttackError(f"{where}: `pattern` or `replacement` is wrong: {one_line(error)}") from error

    def rewrite(text: Text, rng: random.Random) -> list[Text]:
        forms = []
        for change in _changes(written, rng, where):
            new = [change(part) if place in places else part for place, part in enumerate(text)]
            if None not in new:
                forms.append(tuple(part for part in new if part is not None))
        return forms

    return Template(
        written.name,
        written.family,
        written.reason,
        REWRITES.get(written.rewrite or "", rewrite),
        None if written.labels is None else frozenset(written.labels),
    )


def _changes(written: WrittenTemplate, rng: random.Random, where: str) -> Sequence[Change]:
    """The template's changes of one text, of which each makes one form."""
    if written.rewrite is not None:
        return CHANGES[written.rewrite](rng)
    if written.forms is not None:
        return [partial(additions.beside, form) for form in written.forms]
    if written.clauses is not None:
        return [partial(additions.as_clause, form) for form in written.clauses]
    return [partial(_changed, written=written, where=where)]


def _changed(text: str, written: WrittenTemplate, where: str) -> str:
    if written.append is not None:
        return f"{text.rstrip()} {written.append}"
    if written.prepend is not None:
        return f"{written.prepend} {text}"
    try:
        return regex.sub(written.pattern or "", written.replacement or "", text, timeout=SECONDS)
    except TimeoutError as error:
        raise AttackError(f"{where}: `pattern` takes over {SECONDS} s on one text; simplify it") from error
    except (regex.error, IndexError) as error:
        raise AttackError(f"{where}: `replacement` is wrong: {one_line(error)}") from error
