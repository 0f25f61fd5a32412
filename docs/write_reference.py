"""Writes docs/reference from the code: ``python docs/write_reference.py [FOLDER]``."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from trilemma.adapt import ADAPTATIONS
from trilemma.architectures import ARCHITECTURES, SIZES
from trilemma.attacks import ATTACKS
from trilemma.cli.main import app
from trilemma.metrics import ALIASES, METRICS
from trilemma.profiling import MEASUREMENTS
from trilemma.study import schema
from trilemma.tasks import TASKS, Task, advglue, anli
from trilemma.tasks.official_metrics import CLASSIFICATION, REGRESSION
from trilemma.transforms import TRANSFORMS

FOLDER = Path(__file__).with_name("reference")

HEAD = """\
# Studies

Everything that a study file can say. This page is written by `python docs/write_reference.py` from the schema
(`trilemma schema`) and the registries.

A study is one YAML file. Paths in it start from its own folder. Plug-ins add to the tasks, architectures,
adaptations, transforms, attacks and measurements below; `trilemma doctor` lists those that are installed.
"""

BLOCKS = {
    "Study": "the file itself",
    "ModelSpec": "an entry of `models`; ARCH:SIZE or a hub id stand for one",
    "TaskSpec": "an entry of `tasks`: a known one",
    "UserTaskSpec": "an entry of `tasks`: one from your files",
    "AdaptSettings": "`adapt`, or an entry of it; in a model or task, only what differs there",
    "RateSweep": "`adapt.learning_rate`, to choose among several",
    "EarlyStopping": "`adapt.early_stopping`",
    "LoraSettings": "`adapt.lora`",
    "AdversarialSettings": "`adapt.adversarial`",
    "RobustnessSpec": "`robustness`",
    "SetSpec": "an entry of `robustness.sets`: one from your files",
    "AttackSpec": "an entry of `robustness.attacks`, beside the settings below",
    "AttackSettings": "settings of a recipe, or in `robustness.attack_settings` of all",
    "EfficiencyGrid": "`efficiency`",
    "TrainingGrid": "`efficiency.training`",
    "PretrainSpec": "`pretrain`",
}


MEANINGS = {
    "accuracy": "share of items answered right",
    "f1": "F1 of the second of two classes",
    "macro_f1": "mean F1 over the classes that are gold or answered, for two or more",
    "matthews": "Matthews correlation, for two or more classes (Gorodkin's R_K)",
}
"""Metrics whose title does not say it all."""


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
    for name in TASKS.built_in():
        task: Task = TASKS.get(name)
        classes = ", ".join(task.labels) if task.labels else "none: a score"
        rows = ", ".join(f"{split} {count:,}" for split, count in task.official_rows.items())
        evaluated = ", ".join(task.evaluation_splits) + (
            " (labels unpublished)" if task.hidden_labels else ""
        )
        columns = (name, ", ".join(task.fields), classes, ", ".join(task.metrics), evaluated, rows)
        yield f"| {' | '.join(columns)} |"
    yield "\n## Metrics of tasks\n"
    yield "What `metric` of a task may name, the primary one first. A study's metrics of costs and"
    yield "robustness are in [metrics.md](metrics.md).\n"
    yield "| metric | of | what it is |\n| --- | --- | --- |"
    for kind, names in (("classes", CLASSIFICATION), ("a regression", REGRESSION)):
        for name in names:
            meaning = MEANINGS.get(name, METRICS[name].title)
            yield f"| `{name}`{' (default)' if name == names[0] else ''} | {kind} | {meaning} |"
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
    yield "\nSets from your files: [SetSpec](#setspec-an-entry-of-robustnesssets-one-from-your-files).\n"


def plugins() -> Iterator[str]:
    """What else has a name."""
    yield "## Architectures and sizes\n"
    yield f"{', '.join(ARCHITECTURES.built_in())}, each in the sizes {', '.join(SIZES)}.\n"
    yield "## Adaptations\n"
    for name in ADAPTATIONS.built_in():
        yield f"- `{name}`: {_first_line(ADAPTATIONS.get(name).__doc__)}"
    yield "\n## Measurements of efficiency\n"
    for name in MEASUREMENTS.built_in():
        yield f"- `{name}`: {_first_line(MEASUREMENTS.get(name).__doc__)}"
    yield "\n## Transforms and attacks\n"
    for registry in (TRANSFORMS, ATTACKS):
        names = ", ".join(registry.built_in()) or "by plug-ins"
        yield f"- {registry.kind}s: {names}"
    yield "\nWhat each attack is and reads: [attacks.md](../attacks.md)."
    yield "\n[extend.md](../extend.md) shows how to add one of each kind."


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().split("\n\n")[0].replace("\n", " ")


BESIDE = {
    "majority_accuracy": "accuracy of always answering the most frequent class",
    "chance_accuracy": "accuracy of answering at random",
    "constant_f1": "F1 of always answering the positive class",
    "chance_f1": "F1 of answering at random",
    "training_rows": "rows that a model was adapted on",
    "training_epochs": "passes over them",
    "learning_rate": "peak rate of the adaptation, chosen or given",
    "pretraining_tokens": "tokens that a model was pretrained on",
}
"""What the column `metric` may hold that is not in :data:`trilemma.metrics.METRICS`."""


def metrics() -> Iterator[str]:
    """The page of metrics."""
    yield "# Metrics\n"
    yield "What the records' column `metric` may hold. This page is written by"
    yield "`python docs/write_reference.py` from `trilemma.metrics`; a plug-in's measurement adds its own.\n"
    yield "A query may use an alias, and names a phase by `METRIC@PHASE` where a metric is recorded in"
    yield "several; without it the phase of the operating point is meant: `generate` where tokens are"
    yield "generated, else `classify`.\n"
    for axis, title in (("E", "Efficiency"), ("P", "Performance"), ("R", "Robustness")):
        yield f"## {title}\n\n| metric | unit | better | phases | meaning |\n{'| --- ' * 5}|"
        for metric in METRICS.values():
            if metric.axis == axis:
                phases, unit = ", ".join(metric.phases), metric.unit or "currency"
                yield f"| `{metric.name}` | {unit} | {metric.better} | {phases} | {metric.title} |"
        yield ""
    yield "## Beside them\n\nBaselines and facts that are recorded, by which nothing is chosen:\n"
    for name, meaning in BESIDE.items():
        yield f"- `{name}`: {meaning}"
    yield ""
    yield "## Aliases\n\n| alias | metric |\n| --- | --- |"
    for alias, name in ALIASES.items():
        yield f"| `{alias}` | `{name}` |"


def commands() -> Iterator[str]:
    """The page of commands."""
    yield "# Command line\n"
    yield "This page is written by `python docs/write_reference.py` from the commands themselves.\n"
    root = typer.main.get_command(app)
    for name, command in _leaves(root, "trilemma"):
        yield f"## {name}\n\n{' '.join((command.help or '').split())}\n"
        rows = [row for one in command.params if (row := _parameter(one))]
        if rows:
            yield "| option | default | meaning |\n| --- | --- | --- |"
            yield from rows
            yield ""


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for word, one in command.commands.items():
            yield from _leaves(one, f"{name} {word}")
    else:
        yield name, command


def _parameter(one: Any) -> str:
    if one.name in ("help", "install_completion", "show_completion"):
        return ""
    names = ", ".join(f"`{name}`" for name in one.opts)
    names = f"`{one.metavar or one.name.upper()}`" if one.param_type_name == "argument" else names
    default = "required" if one.required else "" if one.default in (None, "", False) else f"`{one.default}`"
    return f"| {names} | {default} | {_cell(' '.join((getattr(one, 'help', '') or '').split()))} |"


def write(folder: Path) -> None:
    """All pages."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "studies.md").write_text(page(), "utf-8")
    (folder / "metrics.md").write_text("\n".join(metrics()) + "\n", "utf-8")
    (folder / "cli.md").write_text("\n".join(commands()).rstrip() + "\n", "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
