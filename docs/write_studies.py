"""Writes docs/studies.md from the study's schema and the registries: ``python docs/write_studies.py``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trilemma.adapt import ADAPTATIONS
from trilemma.architectures import ARCHITECTURES, SIZES
from trilemma.attacks import ATTACKS
from trilemma.profiling import MEASUREMENTS
from trilemma.registry import Registry
from trilemma.study import schema
from trilemma.tasks import TASKS, Task, advglue, anli
from trilemma.transforms import TRANSFORMS

PAGE = Path(__file__).with_name("studies.md")

HEAD = """\
# Studies

All that a study file can say. This page is written by `python docs/write_studies.py` from the schema
(`trilemma schema`) and the registries.

A study is one YAML file. Paths in it start from its own folder. Plug-ins add to the tasks, architectures,
adaptations, transforms, attacks and measurements below; `trilemma doctor` lists those that are installed.
"""

BLOCKS = {
    "Study": "the file itself",
    "ModelSpec": "an entry of `models`",
    "TaskSpec": "an entry of `tasks`: a known one",
    "OwnTaskSpec": "an entry of `tasks`: one of your own",
    "AdaptSettings": "`adapt`, or an entry of it; in a model or task, only what differs there",
    "RateSweep": "`adapt.learning_rate`, to choose among several",
    "EarlyStopping": "`adapt.early_stopping`",
    "LoraSettings": "`adapt.lora`",
    "AdversarialSettings": "`adapt.adversarial`",
    "RobustnessSpec": "`robustness`",
    "SetSpec": "an entry of `robustness.sets`: one of your own",
    "AttackSpec": "an entry of `robustness.attacks`, beside the settings below",
    "AttackSettings": "settings of a recipe, or in `robustness.attack_settings` of all",
    "EfficiencyGrid": "`efficiency`",
    "TrainingGrid": "`efficiency.training`",
    "PretrainSpec": "`pretrain`",
}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *fields(), *tasks(), *sets(), *plugins()]) + "\n"


def fields() -> Iterator[str]:
    """A table for each block of the study."""
    document = schema()
    blocks = {"Study": document, **document["$defs"]}
    missing = {name for name in blocks if "properties" in blocks[name]} ^ set(BLOCKS)
    assert not missing, f"BLOCKS and the schema differ in {missing}"
    for name, title in BLOCKS.items():
        yield f"## {name}: {title}\n"
        yield "| field | takes | default | meaning |\n| --- | --- | --- | --- |"
        required = blocks[name].get("required", [])
        inherited = blocks["AttackSettings"]["properties"] if name == "AttackSpec" else {}
        for field, content in blocks[name]["properties"].items():
            if field in inherited:
                continue
            default = "required" if field in required else _default(content)
            meaning = _cell(content.get("description", ""))
            yield f"| `{field}` | {_cell(takes(content))} | {default} | {meaning} |"
        yield ""


def _default(content: dict[str, Any]) -> str:
    if "default" not in content or content["default"] in (None, "", [], {}):
        return ""
    shown = json.dumps(content["default"])
    return f"`{shown}`" if len(shown) < 90 else "see its block"


def takes(content: dict[str, Any]) -> str:
    """What values a field takes, in words."""
    if "$ref" in content:
        return content["$ref"].rpartition("/")[2]
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in content:
            kinds = [takes(one) for one in content[choice] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in content or "const" in content:
        return ", ".join(f"`{value}`" for value in content.get("enum", [content.get("const")]))
    kind = content.get("type")
    if kind == "array":
        return f"list of {takes(content.get('items', content.get('prefixItems', [{}])[0]))}"
    if kind == "object":
        inner = content.get("additionalProperties")
        return f"block of name: {takes(inner)}" if isinstance(inner, dict) else "block"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return words.get(str(kind), "any value") + _bounds(content)


def _bounds(content: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {content[name]:,.15g}" for name, sign in signs.items() if name in content]
    return f" ({', '.join(found)})" if found else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def tasks() -> Iterator[str]:
    """GLUE's tasks."""
    yield "## Tasks\n"
    yield "Official rows are those of the published splits; a split that has fewer is called partial.\n"
    yield "| task | text | classes | metrics | evaluated on | official rows |\n" + "| --- " * 6 + "|"
    for name in _built_in(TASKS):
        task: Task = TASKS.get(name)
        classes = ", ".join(task.labels) if task.labels else "none: a score"
        rows = ", ".join(f"{split} {count:,}" for split, count in task.official_rows.items())
        evaluated = ", ".join(task.evaluation_splits) + (
            " (labels unpublished)" if task.hidden_labels else ""
        )
        columns = (name, ", ".join(task.fields), classes, ", ".join(task.metrics), evaluated, rows)
        yield f"| {' | '.join(columns)} |"
    yield ""


def sets() -> Iterator[str]:
    """The published adversarial sets."""
    yield "## Adversarial sets\n"
    yield (
        "`advglue` ([arXiv 2111.02840](https://arxiv.org/abs/2111.02840)), rows of `dev_ann.json`\n"
        "(also on the hub, there without levels) and of `test_ann.json`:\n"
    )
    yield "| task | set | development | test |\n| --- | --- | --- | --- |"
    for task, subsets in advglue.SUBSETS.items():
        for one in subsets:
            yield f"| {task} | {one.name} | {one.dev_rows:,} | {one.test_rows:,} |"
    yield "\n| level | methods |\n| --- | --- |"
    for level, methods in advglue.METHODS.items():
        yield f"| {level} | {', '.join(methods)} |"
    rounds = ", ".join(f"anli_{one} {rows:,}" for one, rows in anli.DEV_ROWS.items())
    yield f"\n`anli`, for mnli, from the hub or a folder, all human-written: {rounds} rows."
    yield "\nSets of your own: [SetSpec](#setspec-an-entry-of-robustnesssets-one-of-your-own).\n"


def plugins() -> Iterator[str]:
    """What else has a name."""
    yield "## Architectures and sizes\n"
    yield f"{', '.join(_built_in(ARCHITECTURES))}, each in the sizes {', '.join(SIZES)}.\n"
    yield "## Adaptations\n"
    for name in _built_in(ADAPTATIONS):
        yield f"- `{name}`: {_first_line(ADAPTATIONS.get(name).__doc__)}"
    yield "\n## Measurements of efficiency\n"
    for name in _built_in(MEASUREMENTS):
        yield f"- `{name}`: {_first_line(MEASUREMENTS.get(name).__doc__)}"
    yield "\n## Transforms and attacks\n"
    for registry in (TRANSFORMS, ATTACKS):
        names = ", ".join(_built_in(registry)) or "by plug-ins"
        yield f"- {registry.kind}s: {names}"
    yield "\nWhat each attack is and reads: [attacks.md](attacks.md)."
    yield "\n[CONTRIBUTING.md](../CONTRIBUTING.md) shows how to add one of each kind."


def _built_in(registry: Registry[Any]) -> list[str]:
    return [name for name in registry.names() if name not in registry.plugins()]


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().split("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
