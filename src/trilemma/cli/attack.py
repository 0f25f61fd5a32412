"""``trilemma attack``: attack one adapted model and write the examples as a set that a study can name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.attacks import Victim


def attack(
    model: Annotated[
        str, typer.Argument(help="An adapted model's folder, or http(s)://... of one that answers there.")
    ],
    task: Annotated[str, typer.Option(help="The task it was adapted to, e.g. sst2.")],
    recipe: Annotated[str, typer.Option(help="A recipe's name: deepwordbug, pwws, textfooler, ...")],
    out: Annotated[Path, typer.Option(help="Parquet file to write, in AdvGLUE's columns.")],
    data: Annotated[str, typer.Option(help="embedded, hub or folder:PATH.")] = "embedded",
    split: Annotated[str | None, typer.Option(help="Split to attack; default the task's first.")] = None,
    items: Annotated[int, typer.Option(min=1, help="Items of the split, drawn by the seed.")] = 100,
    budget: Annotated[int, typer.Option(min=1, help="Queries allowed an item.")] = 200,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    setting: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of the recipe, e.g. similarity=0.8 or words_changed=0.15; repeatable."),
    ] = None,
) -> None:
    """Attack an adapted model and write the examples that fool it."""
    import json
    import random

    import pyarrow as pa

    from trilemma.attacks import build, require_errors
    from trilemma.attacks.journal import Journal
    from trilemma.attacks.made import make
    from trilemma.records import write_table
    from trilemma.study.console import progress_bar
    from trilemma.tasks import get, open_source
    from trilemma.terminal import output

    if out.suffix != ".parquet" or not out.parent.is_dir():
        raise _refused(f"--out {out} is no .parquet file in a folder that exists")
    known = get(task)
    chosen = settings_of(setting or [])
    require_errors(recipe)
    attacked = build(recipe, chosen, known)
    examples = open_source(data).load(known, split or known.evaluation_splits[0])
    usable = [i for i, label in enumerate(examples.labels) if label is not None and known.labels is not None]
    if not usable:
        raise _refused(f"{task} has no labelled classes in that split: there is nothing to attack")
    picked = sorted(random.Random(seed).sample(usable, min(items, len(usable))))
    asked = (model, task, recipe, data, split, picked, budget, seed, chosen.model_dump(mode="json"))
    journal = Journal(out.with_suffix(".journal"), len(picked), json.dumps(asked))
    console = output()
    with progress_bar(console, f"{recipe} on {model}") as progress:
        made = make(
            attacked,
            victim_of(model, known.outputs),
            [examples.texts[i] for i in picked],
            [int(examples.labels[i] or 0) for i in picked],
            chosen,
            budget=budget,
            seed=seed,
            progress=progress,
            done=journal.results,
            finished=journal.keep,
        )
    kept, dropped = made.kept(chosen)
    columns = made.as_advglue(known, recipe, kept)
    columns["idx"] = [examples.ids[picked[i]] for i in kept]
    write_table(pa.Table.from_pydict(columns), out)
    out.with_suffix(".journal").unlink()
    _tell(console, made, kept, dropped, out, task)


def settings_of(pairs: list[str]) -> Any:
    """Attack settings from ``NAME=VALUE`` texts.

    Raises:
        AttackError: for a text without ``=``, an unknown name or a value that does not fit.
    """
    import difflib

    import yaml
    from pydantic import ValidationError

    from trilemma.attacks import AttackSettings

    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise _refused(f"the setting {pair!r} is not NAME=VALUE")
        try:
            values[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise _refused(f"the setting {pair!r} has no value that can be read") from error
    try:
        return AttackSettings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field, known = ".".join(map(str, first["loc"])), list(AttackSettings.model_fields)
        close = difflib.get_close_matches(field, known, n=1)
        guess = f"did you mean {close[0]}? " if close and close != [field] else ""
        raise _refused(f"the setting {field}: {first['msg']}; {guess}known: {', '.join(known)}") from error


def victim_of(model: str, outputs: int) -> "Victim":
    """The model behind an address, or in a folder, for a task with so many classes."""
    if model.startswith(("http://", "https://")):
        from trilemma.attacks.http_victim import HttpVictim

        return HttpVictim(model)
    from trilemma.inference.classifier import Classifier

    if not Path(model).is_dir():
        raise _refused(
            f"{model} is no folder; name an adapted model's (a finished run's are in its checkpoints.json)"
        )
    classifier = Classifier.load(model)
    if classifier.model.config.num_labels != outputs:
        raise _refused(
            f"{model} answers with {classifier.model.config.num_labels} classes, the task has {outputs}; "
            "attack it on the task that it was adapted to"
        )
    return classifier


def _tell(
    console: "Console", made: Any, kept: list[int], dropped: dict[str, int], out: Path, task: str
) -> None:
    attacked, won = sum(made.attacked), sum(made.success)
    rate = f"{won / attacked:.0%}" if attacked else "none"
    console.print(
        f"{attacked} of {len(made.labels)} items were answered correctly and attacked; success rate {rate}, "
        f"{sum(made.queries):,} queries."
    )
    for reason, count in dropped.items():
        console.print(f"  left out, {reason}: {count}")
    if not kept:
        console.print(f"no example is left to keep; {out} is empty", markup=False, soft_wrap=True)
        return
    console.print(f"{len(kept)} examples in {out}; in a study:", markup=False, soft_wrap=True)
    console.print(
        f"  robustness: {{sets: [{{name: made-{out.stem}, task: {task}, file: {out.name}}}]}}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _refused(sentence: str) -> Exception:
    from trilemma.errors import AttackError

    return AttackError(sentence)
