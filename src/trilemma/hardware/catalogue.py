"""Machines that a model may be deployed on: a small catalogue, and files of your own."""

import difflib
import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trilemma.errors import DeployError
from trilemma.hardware.machine import HERE, Machine
from trilemma.yaml_file import read_yaml


@cache
def catalogue() -> dict[str, Machine]:
    """The machines that come with the package, by name."""
    text = files("trilemma.hardware").joinpath("machines.yaml").read_text("utf-8")
    return {machine.name: machine for machine in _machines(yaml.safe_load(text), "the catalogue")}


def is_file(name: str) -> bool:
    """Whether a machine's name is that of a YAML file, or of one machine in it, ``FILE.yaml:NAME``."""
    return _FILE.fullmatch(name) is not None


def machines_in(name: str, here: Callable[[], Machine] | None = None) -> list[Machine]:
    """All machines of ``FILE.yaml``, or the one of ``FILE.yaml:NAME``.

    The file is a list of machines, each in full, or as changes to one of the catalogue by ``like``.

    Args:
        name: of the file, and of the machine.
        here: gives what ``like: here`` means.

    Raises:
        DeployError: naming file, machine and field, and where there is none of that name.
    """
    parts = _FILE.fullmatch(name)
    assert parts is not None
    path = Path(parts[1])
    content, _ = read_yaml(path, "a list of machines", DeployError)
    if parts[2] is not None and isinstance(content, list):
        names = [one.get("name") for one in content if isinstance(one, dict)]
        if parts[2] not in names:
            raise DeployError(f"{parts[1]} has no machine {parts[2]!r}; it has {', '.join(map(str, names))}")
        content = [one for one in content if isinstance(one, dict) and one.get("name") == parts[2]]
    return _machines(content, str(path), here)


def find_machine(name: str, here: Callable[[], Machine] | None = None) -> Machine:
    """A machine by its name in the catalogue, the only one of a YAML file, or ``FILE.yaml:NAME``.

    Raises:
        DeployError: if there is none.
    """
    if name in catalogue():
        return catalogue()[name]
    if is_file(name):
        machine, *more = machines_in(name, here)
        if not more:
            return machine
        names = ", ".join(f"{name}:{one.name}" for one in (machine, *more))
        raise DeployError(f"{name} lists {1 + len(more)} machines; name the one you mean: {names}")
    raise DeployError(
        f"unknown machine {name!r}; {closest(name, catalogue())}known: {', '.join(catalogue())}, `here` once "
        "it is calibrated, or a YAML file of machines"
    )


def closest(name: str, known: Iterable[str]) -> str:
    """A question about the most similar name, followed by a space; "" where none is similar."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}? " if close else ""


_FILE = re.compile(r"(.+\.ya?ml)(?::(.+))?")


def _machines(content: Any, where: str, here: Callable[[], Machine] | None = None) -> list[Machine]:
    if not isinstance(content, list) or not content:
        raise DeployError(f"{where} does not hold a list of machines; begin each with `- name: ...`")
    found: dict[str, Machine] = {}
    for number, entry in enumerate(content, 1):
        if not isinstance(entry, dict):
            raise DeployError(f"{where}: entry {number} is not a machine; write `name: ...` and its fields")
        entry = dict(entry)
        like = entry.pop("like", None)
        if like is not None:
            known = catalogue() | ({HERE: here()} if like == HERE and here is not None else {})
            if not isinstance(like, str) or like not in known:
                raise DeployError(f"{where}: machine {number} is like {like!r}, which the catalogue lacks")
            entry = known[like].model_dump(exclude_unset=True) | entry
        try:
            machine = Machine(**entry)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            fields = ["like", *Machine.model_fields]
            message = "is not a field of a machine" if first["type"] == "extra_forbidden" else first["msg"]
            raise DeployError(
                f"{where}: machine {entry.get('name', number)}: {field}: {message}; {closest(field, fields)}"
                f"fields: {', '.join(fields)}"
            ) from error
        if not machine.flops:
            raise DeployError(f"{where}: machine {machine.name}: flops: give the rate of a precision or more")
        if machine.name in found:
            raise DeployError(f"{where}: two machines are called {machine.name!r}; rename one")
        found[machine.name] = machine
    return list(found.values())
