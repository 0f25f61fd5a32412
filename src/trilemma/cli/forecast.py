"""``trilemma forecast``: what models would cost on machines that they need not run on."""

from itertools import product
from typing import Annotated

import typer

from trilemma.cli.options import Json, Out, Report, counts, names, require_files


def forecast(
    models: Annotated[
        list[str],
        typer.Argument(help="Folders, hub ids, or ARCH:SIZE, e.g. gla:small.", metavar="MODEL..."),
    ],
    machines: Annotated[
        str,
        typer.Option(help="Names of the catalogue, `here`, YAML files of machines, or calibrations (.json)."),
    ] = "here",
    batch: Annotated[str, typer.Option(help="Batch sizes, e.g. 1,4,16.")] = "1",
    length: Annotated[str, typer.Option(help="Tokens per input; of the prompt, in generation.")] = "128,512",
    decode: Annotated[int, typer.Option(help="Tokens generated after the prompt; 0 to classify.")] = 64,
    precision: Annotated[
        str, typer.Option(help="auto, float32, bfloat16, float16 or packed; several with commas.")
    ] = "auto",
    devices: Annotated[
        str,
        typer.Option(
            help="Devices that share each matrix, e.g. 1,2; 2x4 with a pipeline of four stages besides."
        ),
    ] = "1",
    out: Out = None,
    report: Report = None,
    json: Json = False,
) -> None:
    """Forecast how fast models would serve on machines, and in how much memory.

    A model is read by its configuration alone, a machine by its description, or by the passes that
    `trilemma calibrate` timed on it.
    """
    from trilemma import commands
    from trilemma.cli.profile import hand_over
    from trilemma.forecasting.plan import ParallelPlan
    from trilemma.operating_point import OperatingPoint
    from trilemma.study.console import progress_bar
    from trilemma.terminal import output

    require_files(out, report)
    points = [
        OperatingPoint(*point, decode) for point in product(counts("batch", batch), counts("length", length))
    ]
    with progress_bar("forecasting") as progress:
        found = commands.forecast(
            models,
            names("machines", machines),
            points,
            precisions=names("precision", precision),
            plans=[ParallelPlan.parse(part) for part in names("devices", devices)],
            progress=progress,
        )
    hand_over(found, output(), out, report, json)
