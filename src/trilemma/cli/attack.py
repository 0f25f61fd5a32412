"""``trilemma attack``: attack one adapted model and write the examples as a set that a study can name."""

from pathlib import Path
from typing import Annotated, Any

import typer

from trilemma.cli.options import OfRun, StudyFile, TaskName


def attack(
    model: Annotated[
        str,
        typer.Argument(
            help="An adapted model's folder, http(s)://... of one that answers there, or with --run a "
            "candidate's name."
        ),
    ],
    recipe: Annotated[str, typer.Option(help="A recipe's name: deepwordbug, pwws, textfooler, ...")],
    out: Annotated[Path, typer.Option(help="Parquet file to write, in AdvGLUE's columns.")],
    task: TaskName = None,
    study: StudyFile = None,
    run: OfRun = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="embedded (default), hub or folder:PATH, for tasks without data of their own; in place of "
            "the study's."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split to attack; default the task's first.")] = None,
    items: Annotated[int, typer.Option(min=1, help="Items of the split, drawn by the seed.")] = 100,
    budget: Annotated[int, typer.Option(min=1, help="Queries allowed per item.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw and of the attack.")] = 0,
    max_length: Annotated[
        int | None,
        typer.Option(min=2, help="Tokens of a text that the model reads; default what its checkpoint says."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of the recipe, e.g. similarity=0.8 or words_changed=0.15; repeatable."),
    ] = None,
) -> None:
    """Attack an adapted model and write the examples that fool it; run it again to resume."""
    from trilemma.attacks import attack_model
    from trilemma.study.asked import adapted_model, find_task
    from trilemma.study.console import progress_bar
    from trilemma.terminal import output, print_lines
    from trilemma.web import without_secrets

    settings = named_values(setting or [])
    known = find_task(task, study=study, run=run, data=data)
    if run is not None and not Path(model).is_dir():
        model = adapted_model(run, model, known.name)
    console = output()
    with progress_bar(f"{recipe} on {without_secrets(model, model)}") as progress:
        result = attack_model.attack(
            model,
            known,
            recipe,
            out,
            split=split,
            items=items,
            budget=budget,
            seed=seed,
            max_length=max_length,
            settings=settings,
            progress=progress,
        )
    print_lines(console, result.text())


def named_values(pairs: list[str]) -> dict[str, Any]:
    """Values by name from ``NAME=VALUE`` texts; a value is read as YAML.

    Raises:
        AttackError: for a text without ``=``, or a value that cannot be read.
    """
    import yaml

    from trilemma.errors import AttackError

    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise AttackError(f"the setting {pair!r} is not NAME=VALUE; write it so")
        try:
            values[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise AttackError(
                f"the value of the setting {pair!r} cannot be read; put it in quotes"
            ) from error
    return values
