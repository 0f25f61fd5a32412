"""YAML files that people write, as plain values: each key once, no aliases, and what is wrong by its line."""

from pathlib import Path
from typing import Any

import yaml

from trilemma.errors import TrilemmaError, one_line

MOST_BYTES = 1_000_000
_MOST_DIGITS = 18
_MOST_DEPTH = 100


_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""That of libyaml where there is one: it reads thousands of models in a tenth of the time."""


class _Loader(_SafeLoader):  # type: ignore[misc, valid-type]
    """YAML in which a date is text: no field is a date, and a name may look like one."""

    yaml_implicit_resolvers = {  # noqa: RUF012  the parent's attribute
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(
    path: Path, what: str, error: type[TrilemmaError] = TrilemmaError
) -> tuple[Any, yaml.Node | None]:
    """A file's content, and its nodes, which know their lines.

    Args:
        path: a file of at most :data:`MOST_BYTES` bytes; JSON is YAML too.
        what: what the file should be, for the messages: ``a study``.
        error: the class of what is raised.

    Raises:
        TrilemmaError: of that class, where the file cannot be read or is not YAML, or a block repeats a key
            (YAML would keep the last without a word) or has one that is not text, or there is an alias
            (which can grow without bound).
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as reason:
        told = getattr(reason, "strerror", None) or one_line(reason)
        raise error(f"{path} cannot be read ({told}); name a YAML file that is {what}") from reason
    if len(raw) > MOST_BYTES:
        raise error(f"{path} is too long for {what}; it has at most {MOST_BYTES:,} bytes")
    try:
        text = raw.decode("utf-8-sig")
        if _depth(text) > _MOST_DEPTH:  # libyaml's recursion would end the process
            raise error(f"{path} is nested too deeply to be {what}")
        root = yaml.compose(text, Loader=_Loader)
        if root is None:
            return None, None
        _check(root, path, what, error)
        return _Loader("").construct_document(root), root
    except UnicodeDecodeError as reason:
        raise error(f"{path} is not UTF-8 text (byte {reason.start}); save it as UTF-8") from reason
    except yaml.YAMLError as reason:
        mark = getattr(reason, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = one_line(getattr(reason, "problem", None) or reason)
        raise error(f"{path}{where} is not valid YAML: {problem}") from reason
    except ValueError as reason:  # a value that is not what its explicit tag says
        raise error(f"{path} has a value that YAML cannot read ({one_line(reason)}); quote it") from reason


def at(path: Path, node: yaml.Node) -> str:
    """File and line of a node, for the start of a message."""
    return f"{path}, line {node.start_mark.line + 1}"


def _depth(text: str) -> int:
    deepest = depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > _MOST_DEPTH:
                break
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return deepest


def _check(root: yaml.Node, path: Path, what: str, error: type[TrilemmaError]) -> None:
    seen: set[int] = set()
    pending: list[yaml.Node] = [root]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            raise error(f"{at(path, node)}: YAML aliases (*name) are not supported in {what}")
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if not key.tag.endswith(":str"):
                    scalar = isinstance(key, yaml.ScalarNode)
                    written = f"`{one_line(key.value, 30)}`" if scalar else "a list or block"
                    raise error(
                        f"{at(path, key)}: {written} cannot name a field: put a name in quotes, and write "
                        "the decimals of a number after a point, not a comma"
                    )
                if str(key.value) in keys:
                    raise error(f"{at(path, key)}: `{key.value}` is given twice")
                keys.add(str(key.value))
                pending.append(value)
        elif "\0" in node.value:
            raise error(f"{at(path, node)}: a NUL character, which no field may have")
        elif node.tag.endswith(":int") and len(node.value) > _MOST_DIGITS:
            raise error(
                f"{at(path, node)}: {one_line(node.value, 30)} is a larger number than any field takes"
            )
