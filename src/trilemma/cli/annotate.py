"""``trilemma annotate``: sheets for annotators, and the set that their verdicts leave."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trilemma.tasks.task import AdversarialExamples, Task

annotate = typer.Typer(
    help="Have people judge adversarial examples: write sheets, read the verdicts back.",
    no_args_is_help=True,
    add_completion=False,
)

SetFile = Annotated[
    Path,
    typer.Argument(help="An adversarial set in AdvGLUE's columns: .parquet, .csv or .jsonl.", metavar="SET"),
]
TaskName = Annotated[str, typer.Option(help="The set's task, e.g. sst2.")]
SheetFolder = Annotated[Path, typer.Argument(help="Folder of the sheets and their key.", metavar="FOLDER")]


@annotate.command("export")
def export_command(
    set_file: SetFile,
    folder: SheetFolder,
    task: TaskName,
    annotators: Annotated[int, typer.Option(min=1, help="Sheets to write, one an annotator.")] = 3,
    control: Annotated[
        float, typer.Option(min=0, max=1, help="Clean items hidden in each sheet, as a share of the set.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the order.")] = 0,
) -> None:
    """Write one sheet (CSV) an annotator, and a key that is not for them."""
    from trilemma.attacks.annotation import KEY, export_sheets

    examples, known = _read(set_file, task)
    for path in export_sheets(examples, known, folder, annotators=annotators, control=control, seed=seed):
        typer.echo(path)
    typer.echo(f"{folder / KEY} (keep it from the annotators)")


@annotate.command("import")
def import_command(
    set_file: SetFile,
    folder: SheetFolder,
    task: TaskName,
    out: Annotated[
        Path | None, typer.Option(help="Write the items whose label holds to this .parquet file.")
    ] = None,
    least_control: Annotated[
        float, typer.Option(min=0, max=1, help="Share of hidden clean items an annotator must get right.")
    ] = 0.8,
) -> None:
    """Read the verdicts, and say which items keep their label."""
    from trilemma.attacks.annotation import import_verdicts

    examples, known = _read(set_file, task)
    curated = import_verdicts(examples, known, folder, least_control=least_control)
    for name, right in curated.control.items():
        share = "no clean items were hidden" if right is None else f"{right:.0%} of the hidden items right"
        typer.echo(f"{name}: {share}{', left out' if name in curated.left_out else ''}")
    if curated.kappa is None or curated.interval is None:
        typer.echo("Fleiss' kappa: not defined (one annotator, or all votes for one class)")
    else:
        low, high = curated.interval
        typer.echo(f"Fleiss' kappa: {curated.kappa:.3f} (95% interval {low:.3f} to {high:.3f})")
    typer.echo(f"kept: {len(curated.kept)}")
    for reason, count in curated.reasons.items():
        typer.echo(f"dropped, {reason}: {count}")
    if out is not None:
        from trilemma.attacks.annotation import write_curated

        write_curated(examples, known, curated.kept, out)
        typer.echo(f"set: {out}")


def _read(path: Path, name: str) -> "tuple[AdversarialExamples, Task]":
    from trilemma import tasks
    from trilemma.tasks.advglue import columns, from_table
    from trilemma.tasks.reading import read_file

    task = tasks.get(name)
    return from_table(task, path.stem, read_file(path, *columns(task)), None), task
