"""``trilemma calibrate``: time small models, so that forecasts for this machine rest on measurements."""

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write, for `--machines FILE.json`; default this machine's in the user's cache."
        ),
    ] = None,
) -> None:
    """Time small models on this machine, so that forecasts for it rest on measurements (a few minutes)."""
    import trilemma
    from trilemma.forecasting.calibration import path_here
    from trilemma.study.console import progress_bar
    from trilemma.terminal import output, print_lines
    from trilemma.units import format_value

    console = output()
    with progress_bar("calibrating") as progress:
        found = trilemma.calibrate(out, progress=progress)
    rates = ", ".join(f"{name} {format_value(rate, 'FLOP/s')}" for name, rate in found.machine.flops.items())
    timed = len(found.measured) + len(found.operations)
    unsteady = f"; {found.unsteady} of {timed} times were not steady" if found.unsteady else ""
    print_lines(
        console,
        f"memory is read at {format_value(found.machine.bandwidth, 'bytes/s')}; products: {rates}",
        f"{len(found.measured)} passes timed{unsteady}; calibration: {out or path_here()}",
    )
