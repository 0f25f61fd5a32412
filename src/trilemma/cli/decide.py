"""``trilemma decide``: the best deployment under bounds, and why every other one was rejected."""

from pathlib import Path
from typing import Annotated

import typer

from trilemma.cli.options import Json, counts, names, refuse_options
from trilemma.errors import TrilemmaError
from trilemma.terminal import output, print_lines


def decide(
    context: typer.Context,
    run: Annotated[Path | None, typer.Argument(help="A run folder, e.g. runs/demo.", metavar="RUN")] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="To forecast, with commas: candidates of the run, folders, hub ids or ARCH:SIZE; default "
            "all of the run's candidates."
        ),
    ] = None,
    machines: Annotated[
        str | None,
        typer.Option(
            help="To forecast for, with commas: catalogue names, here, YAML files, or measured for where the "
            "run was; default measured, or here for --models."
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Operating point: batch=1,length=128,decode=64, or chat, or classify."),
    ] = None,
    batch: Annotated[str | None, typer.Option(help="Batch sizes to forecast, with commas.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="To forecast, with commas: auto, float32, bfloat16, float16, packed."),
    ] = None,
    devices: Annotated[
        str | None, typer.Option(help="Devices that share a model, to forecast: 1,2 or 4x2, with commas.")
    ] = None,
    best: Annotated[
        str,
        typer.Option(
            help="What to optimise among those that qualify; default robust_accuracy, or examples_per_s "
            "without a run. E.g. accuracy, latency_ms, peak_memory_bytes, cost_per_million; all of them: "
            "docs/reference/metrics.md."
        ),
    ] = "",
    slo: Annotated[str, typer.Option(help="Bounds on times: ttft=200ms,tpot=40ms,latency=1s.")] = "",
    max_cost: Annotated[str | None, typer.Option(help="Of a million sequences, by machines' prices.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="Peak memory, e.g. 8GB or 512MiB.")] = None,
    max_latency: Annotated[str | None, typer.Option(help="Median latency in ms: 200, 200ms or 0.2s.")] = None,
    min_clean: Annotated[str | None, typer.Option(help="Clean score: 0.8 or 80%.")] = None,
    min_robust: Annotated[str | None, typer.Option(help="Robust score: 0.5 or 50%.")] = None,
    at_most: Annotated[
        list[str] | None, typer.Option("--max", help="METRIC=LIMIT for any metric; may be repeated.")
    ] = None,
    at_least: Annotated[
        list[str] | None, typer.Option("--min", help="METRIC=LIMIT for any metric; may be repeated.")
    ] = None,
    json: Json = False,
) -> None:
    """Find the best deployment under bounds; exit code 1 if none qualifies.

    Of a run's candidates as they were measured; or, with --machines or --models, of every model, machine,
    precision, batch size and number of devices by forecasts, with the accuracy and robustness of the run's
    candidates. Every rejection has its reasons.
    """
    import trilemma
    from trilemma.study.console import progress_bar

    limits = {
        "max_cost": max_cost,
        "max_memory": max_memory,
        "max_latency": max_latency,
        "min_clean": min_clean,
        "min_robust": min_robust,
    }
    for side, given in (("max", at_most), ("min", at_least)):
        for text in given or []:
            metric, equals, limit = text.partition("=")
            name = f"{side}_{metric.strip()}"
            if not equals or limits.get(name) is not None:
                raise TrilemmaError(f"cannot read --{side} {text!r}; write METRIC=LIMIT, each metric once")
            limits[name] = limit.strip()
    places = names("machines", machines)
    if not (places or models) or places == ["measured"]:
        of = ("models", "batch", "precision", "devices")
        refuse_options(context, "nothing is forecast unless --machines names machines to forecast for", of=of)
    with progress_bar("forecasting") as progress:
        found = trilemma.decide(
            run,
            models=names("models", models),
            machines=places,
            at=at,
            batches=counts("batch", batch),
            precisions=names("precision", precision),
            devices=names("devices", devices),
            best=best,
            slo=slo,
            limits=limits,
            progress=progress,
        )
    if json:
        typer.echo(found.to_json())
    else:
        print_lines(output(), found.text())
    if found.choice is None:
        raise typer.Exit(1)
