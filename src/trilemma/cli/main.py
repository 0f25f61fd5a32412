"""The command line: thin, and light until a command runs."""

import errno
import sys
import traceback
from io import TextIOWrapper
from typing import Annotated

import typer

from trilemma.cli import (
    annotate,
    attack,
    calibrate,
    clocks,
    compare,
    decide,
    doctor,
    forecast,
    pretrain,
    profile,
    report,
    run,
    schema,
    show,
    store,
)
from trilemma.errors import NO_MEMORY, TrilemmaError, is_out_of_memory
from trilemma.files import require_utf8, too_large
from trilemma.hardware.process import prepare
from trilemma.terminal import printable

app = typer.Typer(
    name="trilemma",
    help="Which language model should I deploy, given what I can spend and who may attack it?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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


for _command in (
    run.run,
    show.show,
    decide.decide,
    compare.compare,
    report.report,
    attack.attack,
    profile.profile,
    forecast.forecast,
    calibrate.calibrate,
    clocks.clocks,
    pretrain.pretrain,
    doctor.doctor,
    schema.schema,
):
    app.command()(_command)
app.add_typer(annotate.annotate, name="annotate")
app.add_typer(store.store, name="store")


_SENTENCES = {
    errno.ENOSPC: "the disk is full; free space and run the same command again",
    errno.EFBIG: too_large(),
    errno.ENAMETOOLONG: "a path is longer than this system takes; give a shorter one",
}


def main() -> None:
    """Entry point: a user's mistake is one sentence and exit code 2."""
    prepare()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that lacks a character gets another one
            stream.reconfigure(errors="replace")
    try:
        for word in sys.argv[1:]:
            require_utf8(word)
            if not word.strip() or (word.startswith("--") and word.endswith("=")):
                raise TrilemmaError("a word of the command is empty; is a variable of the shell not set?")
        app()
    except TrilemmaError as error:
        from trilemma.web import without_secrets

        if _state["debug"]:
            traceback.print_exc()
        typer.echo(printable(f"trilemma: {without_secrets(str(error))}"), err=True)
        sys.exit(2)
    except (OSError, ImportError, MemoryError, RuntimeError) as error:
        sentence = (
            NO_MEMORY if is_out_of_memory(error) else _SENTENCES.get(getattr(error, "errno", None) or 0)
        )
        if sentence is None:
            raise
        if _state["debug"]:
            traceback.print_exc()
        typer.echo(f"trilemma: {sentence}", err=True)
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # what typer makes of Ctrl-C
            typer.echo("trilemma: stopped; run the same command to resume", err=True)
        raise
