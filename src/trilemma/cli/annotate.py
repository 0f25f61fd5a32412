"""``trilemma annotate``: sheets for annotators, and the set that their verdicts leave."""

from pathlib import Path
from typing import Annotated

import typer

from trilemma.cli.options import OfRun, StudyFile, TaskName

annotate = typer.Typer(
    help="Have people judge adversarial examples: write sheets, read the verdicts back.",
    no_args_is_help=True,
    add_completion=False,
)

SetFile = Annotated[
    Path,
    typer.Argument(help="An adversarial set in AdvGLUE's columns: .parquet, .csv or .jsonl.", metavar="SET"),
]
SheetFolder = Annotated[Path, typer.Argument(help="Folder of the sheets and their key.", metavar="FOLDER")]


@annotate.command("export")
def export_command(
    set_file: SetFile,
    folder: SheetFolder,
    task: TaskName = None,
    study: StudyFile = None,
    run: OfRun = None,
    annotators: Annotated[int, typer.Option(min=1, help="Sheets to write, one per annotator.")] = 3,
    control: Annotated[
        float, typer.Option(min=0, max=1, help="Clean items hidden in each sheet, as a share of the set.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the order of the rows.")] = 0,
) -> None:
    """Write one sheet (CSV) per annotator, and a key that is not for them."""
    from trilemma.attacks.annotation.verdicts import KEY, export_sheets
    from trilemma.study.asked import find_task

    known = find_task(task, study=study, run=run)
    sheets = export_sheets(set_file, known, folder, annotators=annotators, control=control, seed=seed)
    for path in sheets:
        typer.echo(path)
    typer.echo(f"{folder / KEY} (keep it from the annotators)")


@annotate.command("import")
def import_command(
    set_file: SetFile,
    folder: SheetFolder,
    task: TaskName = None,
    study: StudyFile = None,
    run: OfRun = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the items whose label holds to this .parquet file.")
    ] = None,
    min_control: Annotated[
        float, typer.Option(min=0, max=1, help="Share of hidden clean items an annotator must get right.")
    ] = 0.8,
) -> None:
    """Read the verdicts, and print which items keep their label."""
    from trilemma.attacks.annotation.verdicts import import_verdicts
    from trilemma.study.asked import find_task

    known = find_task(task, study=study, run=run)
    curated = import_verdicts(set_file, known, folder, min_control=min_control, out=out)
    typer.echo(curated.text())
    if out is not None:
        typer.echo(f"set: {out}")
