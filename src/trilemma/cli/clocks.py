"""``trilemma clocks``: time and energy by clock frequency, and what each phase should run at."""

from pathlib import Path
from typing import Annotated

import typer

from trilemma.cli.options import (
    Batch,
    Decode,
    Device,
    Length,
    Out,
    Precision,
    Report,
    counts,
    refuse_options,
    require_files,
)


def clocks(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, hub ids, ARCH:SIZE, or one YAML file, as for `trilemma profile`; or one sweep "
            "that --out wrote, to choose again.",
            metavar="MODEL...",
        ),
    ] = None,
    frequencies: Annotated[str | None, typer.Option(help="Clock frequencies in MHz, e.g. 1200,2400.")] = None,
    allow_frequency_control: Annotated[
        bool,
        typer.Option(
            "--allow-frequency-control",
            help="Set the whole machine's clocks; they are given back however it ends.",
        ),
    ] = False,
    watts: Annotated[
        str | None,
        typer.Option(
            help="Estimate instead, and set no clock: the device's power under load, a number or a machine "
            "of the catalogue, e.g. epyc-9654."
        ),
    ] = None,
    idle_watts: Annotated[float, typer.Option(help="Its power when idle, beside --watts.")] = 0.0,
    batch: Batch = None,
    length: Length = None,
    decode: Decode = None,
    precision: Precision = None,
    device: Device = None,
    max_slowdown: Annotated[
        float, typer.Option(min=0, help="Share of time that a chosen frequency may add to a phase.")
    ] = 0.05,
    slo: Annotated[
        str, typer.Option(help="Bounds that the chosen frequencies must keep, e.g. ttft=200ms,tpot=40ms.")
    ] = "",
    queries: Annotated[
        Path | None,
        typer.Option(help="Choose by length of query, too, for the queries of this text file, one per line."),
    ] = None,
    out: Out = None,
    report: Report = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Give back clocks that a killed sweep left changed.")
    ] = False,
) -> None:
    """Find the clock frequency of least energy for each phase; exit code 1 where bounds cannot be met.

    A measured sweep changes the clocks of the whole machine and needs --allow-frequency-control; with --watts
    it is estimated from times at the clocks as they are. docs/profile.md explains both.
    """
    from trilemma import commands
    from trilemma.cli.profile import settings_of
    from trilemma.clocks.choose import Bounds
    from trilemma.clocks.control import recover_all
    from trilemma.clocks.queries import read_queries
    from trilemma.errors import TrilemmaError
    from trilemma.study.console import progress_bar
    from trilemma.sweep_result import ClockSweep
    from trilemma.terminal import output, print_lines

    console = output()
    if restore:
        refuse_options(context, "--restore gives clocks back and measures nothing", but=("restore",))
        print_lines(console, *(recover_all() or ["no clocks are left changed"]))
        return
    if not models:
        raise TrilemmaError("name a model, e.g. gla:small, or a sweep that --out wrote")
    require_files(out, report)
    bounds = Bounds.parse(slo)
    asked = None if queries is None else read_queries(queries)
    given = settings_of(batch=batch, length=length, decode=decode, precision=precision, device=device)
    if idle_watts and watts is None:
        raise TrilemmaError("--idle-watts goes with --watts; give both, or neither to measure")
    if Path(models[0]).suffix == ".parquet":
        again = ("models", "max_slowdown", "slo", "queries", "report")
        refuse_options(context, f"{models[0]} was swept already, and is only chosen from again", but=again)
        if len(models) > 1:
            raise TrilemmaError(f"{models[0]} was swept already; name no other model beside it")
        found = ClockSweep.load(models[0])
        sources = [place.model for place in found.places]
    else:
        if commands.is_settings_file(models[0]):
            own = ("batch", "length", "decode", "precision", "device")
            refuse_options(context, f"{models[0]} says what is measured", of=own)
            if len(models) > 1:
                raise TrilemmaError(f"{models[0]} says what is measured; name no other model beside it")
            settings = commands.read_settings(Path(models[0]))
        else:
            settings = commands.profile_settings({"models": models, **given})
        sources = settings.models
        with progress_bar("profiling by clock frequency") as progress:
            found = commands.sweep_clocks(
                settings,
                counts("frequencies", frequencies or None),
                allow=allow_frequency_control,
                watts=None if watts is None else commands.watts_of(watts),
                idle_watts=idle_watts,
                progress=progress,
            )
    choices = found.choose(max_slowdown, bounds)
    classes = None if asked is None else found.by_query(asked, max_slowdown, commands.tokenizers(sources))
    if out is not None:
        found.save(out)
    found.show(console, choices, classes)
    if report is not None:
        found.report(report, choices, classes)
        print_lines(console, f"report: {report}")
    if not choices or not all(choice.met for choice in choices.values()):
        raise typer.Exit(1)
