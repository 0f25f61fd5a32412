"""The command line: thin, and light until a command runs."""

import errno
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trilemma.analysis.metrics import METRICS
from trilemma.cli import annotate, attack, forecast, profile
from trilemma.errors import TrilemmaError
from trilemma.hardware.process import prepare
from trilemma.terminal import output, printable

if TYPE_CHECKING:
    from trilemma.result import Result

app = typer.Typer(
    name="trilemma",
    help="Which language model should I deploy, given what I can spend and who may attack it?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RunFolder = Annotated[Path, typer.Argument(help="A run folder, e.g. runs/demo.", metavar="RUN")]
_AT = "Operating point; default batch=1,length=128 or the nearest that was measured."
_Aim = Literal["cost", "energy", "throughput"]
_METRICS = ", ".join(METRICS)
_COMPARED = (
    "accuracy, f1, matthews, pearson, spearman, robust_accuracy, robust_f1, attack_success_rate, "
    "accuracy_drop, flip_rate, paired_clean_accuracy"
)
StudyFile = Annotated[Path, typer.Argument(help="A study file (YAML).", metavar="STUDY")]


def _version(asked: bool) -> None:
    if asked:
        import trilemma

        typer.echo(f"trilemma {trilemma.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    _state["debug"] = debug


_state = {"debug": False}
_INTERRUPTED = 130


@app.command()
def run(
    study: StudyFile,
    data: Annotated[
        str | None,
        typer.Option(
            help="embedded, hub or folder:PATH (from the working folder); replaces the study's own."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/NAME.")] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of artifacts; default .store beside the run.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print stages, downloads, time and memory, and do nothing.")
    ] = False,
) -> None:
    """Run a study; run it again to go on where it stood."""
    import trilemma
    from trilemma.study.spec import load_study

    spec = load_study(study, **({"data": data} if data else {}))
    console = output()
    folder = out or Path("runs") / spec.name
    if dry_run:
        from trilemma.study.plan import plan, print_plan

        print_plan(plan(spec, store or folder.parent / ".store"), console)
        return
    result = trilemma.run(spec, out=folder, store=store, console=console)
    result.show(console)
    console.print(f"\nreport: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def show(
    run: RunFolder,
    table: Annotated[
        str | None, typer.Option(help="efficiency, performance or robustness in full; default a summary.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="efficiency by point or length; performance by task; robustness by level, method or task."
        ),
    ] = None,
    at: Annotated[str | None, typer.Option(help=_AT)] = None,
    format: Annotated[
        str,
        typer.Option(
            help="table (the summary, or one table), or all tables as json, csv, markdown or latex."
        ),
    ] = "table",
) -> None:
    """Print the tables of a finished study."""
    result = _load(run)
    if format == "table":
        result.show(output(), table=table, by=by, at=at)
    else:
        typer.echo(result.render(format, table=table, by=by, at=at))


@app.command()
def decide(
    run: Annotated[Path | None, typer.Argument(help="A run folder, e.g. runs/demo.", metavar="RUN")] = None,
    best: Annotated[
        str,
        typer.Option(
            help=f"What to maximise (or minimise, for a cost) among those that qualify: {_METRICS}."
        ),
    ] = "robust_accuracy",
    max_memory: Annotated[str | None, typer.Option(help="Peak inference memory, e.g. 8GB or 512MiB.")] = None,
    max_latency: Annotated[str | None, typer.Option(help="Median latency in ms: 200, 200ms or 0.2s.")] = None,
    min_clean: Annotated[str | None, typer.Option(help="Clean score: 0.8 or 80%.")] = None,
    min_robust: Annotated[str | None, typer.Option(help="Robust score: 0.5 or 50%.")] = None,
    at: Annotated[str | None, typer.Option(help=_AT)] = None,
    models: Annotated[
        str | None,
        typer.Option(help="By forecasts: folders, hub ids or ARCH:SIZE, with commas."),
    ] = None,
    machines: Annotated[
        str, typer.Option(help="Catalogue names, `here`, or a YAML file, with commas.")
    ] = "here",
    workload: Annotated[str, typer.Option(help="chat, classify, or a YAML file.")] = "chat",
    slo: Annotated[str, typer.Option(help="Bounds, e.g. ttft=200ms,tpot=40ms.")] = "",
    max_cost: Annotated[
        float | None, typer.Option(help="Of a million sequences, by the machines' prices.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto, float32, bfloat16, float16, packed; with commas.")
    ] = "auto",
    batch: Annotated[str, typer.Option(help="Batch sizes, with commas.")] = "1,4,16,64",
    devices: Annotated[str, typer.Option(help="Devices that share each matrix, with commas.")] = "1",
    aim: Annotated[_Aim, typer.Option(help="cost, energy or throughput: what ranks.")] = "throughput",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the best candidate of a run, or the best deployment by forecasts; exit code 1 for none.

    With a run folder: among its measured candidates, under the bounds on memory, latency and scores. With
    --models: every model, machine, precision, batch size and number of devices, by forecasts; each rejection
    has its reason. With both, measured scores stand beside the forecasts of models of the same name.
    """
    if models is not None:
        from trilemma.cli.forecast import decide_by_forecasts

        scores = None if run is None else _load(run).scores()
        if not decide_by_forecasts(
            models, machines, workload, slo, max_cost, precision, batch, devices, aim, json, scores
        ):
            raise typer.Exit(1)
        return
    if run is None:
        raise TrilemmaError("name a run folder, or models to forecast by --models")
    decision = _load(run).decide(
        max_memory=max_memory,
        max_latency_ms=max_latency,
        min_clean=min_clean,
        min_robust=min_robust,
        best=best,
        at=at,
    )
    if json:
        typer.echo(decision.to_json())
    else:
        output().print(decision.text(), highlight=False, markup=False, soft_wrap=True)
    if decision.choice is None:
        raise typer.Exit(1)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A candidate.")],
    b: Annotated[str, typer.Argument(help="Another candidate.")],
    run: Annotated[Path | None, typer.Option(help="A run folder; default the newest in runs.")] = None,
    metric: Annotated[str, typer.Option(help=f"One of {_COMPARED}.")] = "robust_accuracy",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Test two candidates on the same items."""
    comparison = _load(run or _newest()).compare(a, b, metric=metric)
    if json:
        typer.echo(comparison.to_json(orient="records"))
    else:
        from trilemma.report.compared import compared
        from trilemma.report.terminal import show as print_sheets

        print_sheets(output(), [compared(comparison)])


@app.command()
def report(
    run: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="HTML file; default report.html in the run folder.")
    ] = None,
) -> None:
    """Write the HTML report of a finished study."""
    typer.echo(_load(run).report(out or run / "report.html"))


@app.command()
def pretrain(
    corpus: Annotated[
        list[Path],
        typer.Option(
            help="A .txt file (documents between blank lines, or one a line where there are none), or a "
            ".jsonl or .parquet file (one document a row, in the column text); may be repeated."
        ),
    ],
    arch: Annotated[str, typer.Option(help="transformer-pp, gla or matmul-free.")],
    out: Annotated[Path, typer.Option(help="Model folder to write; must not exist yet.")],
    size: Annotated[str, typer.Option(help="nano, micro, small, 370m, 1.3b or 2.7b.")] = "micro",
    tokens: Annotated[str, typer.Option(help="Tokens to train on: a number, or one with k, M or B.")] = "10M",
    vocabulary: Annotated[int, typer.Option(help="Tokenizer size, when one is trained.")] = 8192,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Use this tokenizer folder instead of training one.")
    ] = None,
    length: Annotated[int, typer.Option(help="Tokens a sequence.")] = 256,
    batch: Annotated[int, typer.Option(help="Sequences a step.")] = 32,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak rate; default the architecture's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of weights and order.")] = 0,
) -> None:
    """Train a language model from scratch (resumable)."""
    from trilemma.study.console import progress_bar
    from trilemma.study.pretraining import pretrain_folder, summary

    settings = {
        "tokens": tokens,
        "length": length,
        "batch": batch,
        "learning_rate": learning_rate,
    }
    console = output()
    with progress_bar(console, f"pretraining {arch}-{size}") as progress:
        facts = pretrain_folder(
            arch,
            size,
            corpus,
            out,
            settings=settings,
            vocabulary=vocabulary,
            tokenizer=tokenizer,
            seed=seed,
            progress=progress,
        )
    for line in summary(facts, out):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the study's JSON schema, for editors."""
    from json import dumps

    from trilemma.study.spec import schema

    typer.echo(dumps(schema(), indent=2))


@app.command()
def doctor() -> None:
    """Say what this machine has, and which plug-ins are installed."""
    from rich.table import Table
    from rich.text import Text

    from trilemma.hardware import machine
    from trilemma.study.plugins import installed

    table = Table(show_header=False, box=None)
    for topic, finding in (*machine.doctor(), *installed()):
        table.add_row(Text(topic, "bold"), Text(finding))
    output().print(table)


app.command()(attack.attack)
app.command()(forecast.calibrate)
app.command()(forecast.forecast)
app.command()(profile.profile)
app.add_typer(annotate.annotate, name="annotate")


def _newest() -> Path:
    """The run folder in ``runs`` that was finished last."""
    finished = sorted(Path("runs").glob("*/records.parquet"), key=lambda path: path.stat().st_mtime)
    if not finished:
        raise TrilemmaError("there is no finished study in runs; name its folder with --run")
    typer.echo(f"run: {finished[-1].parent}", err=True)
    return finished[-1].parent


def _load(run: Path) -> "Result":
    from trilemma.result import Result

    return Result.load(run)


_SENTENCES = {
    errno.ENOSPC: "the disk is full; free space and run the same command again",
    errno.ENAMETOOLONG: "a path is longer than this system takes; give a shorter one",
}


def main() -> None:
    """Entry point: a user's mistake is one sentence and exit code 2."""
    prepare()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that lacks a character gets another one
            stream.reconfigure(errors="replace")
    try:
        app()
    except TrilemmaError as error:
        if _state["debug"]:
            traceback.print_exc()
        typer.echo(printable(f"trilemma: {error}"), err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _SENTENCES:
            raise
        typer.echo(f"trilemma: {_SENTENCES[error.errno]}", err=True)
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # what typer makes of Ctrl-C
            typer.echo("trilemma: stopped; run the same command to go on", err=True)
        raise
