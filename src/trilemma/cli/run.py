"""`trilemma run`: a study, from its file to its report."""

from pathlib import Path
from typing import Annotated

import typer

from trilemma.terminal import output, print_lines


def run(
    study: Annotated[Path, typer.Argument(help="A study file (YAML).", metavar="STUDY")],
    data: Annotated[
        str | None,
        typer.Option(help="embedded, hub or folder:PATH (from the working folder); instead of the study's."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/NAME.")] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of artifacts; default .store beside the run.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print stages, downloads, time and memory, and do nothing.")
    ] = False,
) -> None:
    """Run a study; the same command resumes one that was stopped."""
    import trilemma
    from trilemma.study import load_study

    spec = load_study(study, **({"data": data} if data else {}))
    console = output()
    folder = out or Path("runs") / spec.name
    if dry_run:
        from rich.console import Console

        from trilemma.study.console import ConsoleListener
        from trilemma.study.plan import plan, print_plan

        with ConsoleListener(Console(stderr=True)) as listener:
            found = plan(spec, store or folder.parent / ".store", listener.preparing)
        print_plan(found, console)
        return
    result = trilemma.run(spec, out=folder, store=store, console=console)
    result.show(console)
    print_lines(console, "", f"report: {folder / 'report.html'}")
