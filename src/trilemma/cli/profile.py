"""``trilemma profile``: measure what models cost here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trilemma.cli.options import (
    Batch,
    Decode,
    Device,
    Json,
    Length,
    Out,
    Precision,
    Report,
    counts,
    names,
    require_files,
)
from trilemma.terminal import output, print_lines

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.profile_result import Profile

FIELDS = {"precision": "precisions", "compile": "compiled"}
"""Options whose field of the settings has another name."""


def profile(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Folders, hub ids, or ARCH:SIZE for a new model, e.g. gla:small; or one YAML file that says "
            "what to measure.",
            metavar="MODEL...",
        ),
    ],
    batch: Batch = None,
    length: Length = None,
    decode: Decode = None,
    precision: Precision = None,
    attention: Annotated[
        str | None, typer.Option(help="Hugging Face's attentions, e.g. sdpa,eager; default the model's.")
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Run by torch.compile.")] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Measure steps of full fine-tuning too, at the same points.")
    ] = False,
    energy: Annotated[
        bool, typer.Option("--energy", help="Measure energy too, where the machine has a meter.")
    ] = False,
    watts: Annotated[
        str | None,
        typer.Option(
            help="The device's power under load, for estimates of energy: a number, or a machine of the "
            "catalogue, e.g. epyc-9654."
        ),
    ] = None,
    device: Device = None,
    rounds: Annotated[
        int | None, typer.Option(help="Most repetitions per point, at least 6; default 50.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Time that a model's repetitions at one point aim at; default 1.")
    ] = None,
    out: Out = None,
    report: Report = None,
    json: Json = False,
) -> None:
    """Measure speed, memory and work of models on this machine.

    For each model and point: time to the first token (TTFT) and per further token (TPOT), tokens per second,
    latency of the whole batch, peak memory split into weights, state and activations, FLOPs, bytes, and the
    share of what this machine gives at best (its roofline, measured once). docs/profile.md explains them.
    """
    from trilemma import commands
    from trilemma.errors import TrilemmaError
    from trilemma.study.console import progress_bar

    require_files(out, report)
    given = settings_of(
        batch=batch,
        length=length,
        decode=decode,
        precision=precision,
        attention=attention,
        compile=compile,
        training=training,
        energy=energy,
        watts=watts,
        device=device,
        rounds=rounds,
        seconds=seconds,
    )
    if commands.is_settings_file(models[0]):
        if given or len(models) > 1:
            raise TrilemmaError(
                f"{models[0]} says what is measured; give nothing else but --out, --report and --json"
            )
        settings = commands.read_settings(Path(models[0]))
    else:
        settings = commands.profile_settings({"models": models, **given})
    console = output()
    with progress_bar("profiling") as progress:
        found = commands.profile(settings, progress=progress)
    hand_over(found, console, out, report, json)


def settings_of(**options: Any) -> dict[str, Any]:
    """The options that were given, as the fields of settings; training is at the same points as inference."""
    from trilemma.commands import watts_of
    from trilemma.profiling.grid import ProfileGrid

    lists = {"precision": names, "attention": names, "batch": counts, "length": counts}
    given: dict[str, Any] = {
        name: lists[name](name, value) if name in lists else value
        for name, value in options.items()
        if value is not None and value is not False
    }
    if "watts" in given:
        given["watts"] = watts_of(given["watts"])
    if "training" in given:
        given["training"] = {name: given[name] for name in ("batch", "length") if name in given}
    grid = {name: value for name, value in given.items() if name in ProfileGrid.model_fields}
    fields = {FIELDS.get(name, name): value for name, value in given.items() if name not in grid}
    return fields | ({"efficiency": grid} if grid else {})


def hand_over(
    found: "Profile", console: "Console", out: Path | None, report: Path | None, json: bool
) -> None:
    """Save, print and report a profile as the options ask for it."""
    if out is not None:
        found.save(out)
    if report is not None:
        found.report(report)
    if json:
        typer.echo(found.to_json())
        return
    found.show(console)
    for name, path in (("report", report), ("profile", out)):
        if path is not None:
            print_lines(console, f"{name}: {path}")
