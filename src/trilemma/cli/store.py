"""``trilemma store``: what the folder of artifacts holds that no study needs any more."""

from pathlib import Path
from typing import Annotated

import typer

store = typer.Typer(help="Care for the folder of artifacts.", no_args_is_help=True, add_completion=False)


@store.callback()
def _group() -> None:
    """A group of commands, although it has one."""


@store.command("clean")
def clean_command(
    folder: Annotated[Path, typer.Argument(help="The store.", metavar="STORE")] = Path("runs/.store"),
    run: Annotated[
        list[Path] | None,
        typer.Option(help="A run folder that rests on the store and is not beside it; may be repeated."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete what is listed.")] = False,
) -> None:
    """List what no run folder beside the store rests on, and with --yes delete it.

    It goes by the run folders that exist: delete those that you no longer want first. An adapted model that
    only you use, by its path, is listed too.
    """
    from trilemma.study.cleaning import remove, unneeded
    from trilemma.terminal import output, print_lines
    from trilemma.units import format_value

    console = output()
    found = unneeded(folder, run or ())
    print_lines(console, *(f"{format_value(one.size, 'bytes')}  {one.path}  {one.title}" for one in found))
    if not found:
        print_lines(console, "nothing is left over")
        return
    whole = f"{len(found)} folders, {format_value(sum(one.size for one in found), 'bytes')}"
    if yes:
        remove(found)
        print_lines(console, f"deleted {whole}")
    else:
        print_lines(console, f"{whole}; the same command with --yes deletes them")
