"""How well forecasts hit: models of other shapes, and of families that were left out, timed on this machine.

    python benchmarks/forecast.py --work FILE.json [--measure]

``--measure`` times five families (the three architectures, a Llama and a BERT of Hugging Face's) at twelve
widths and depths, batches 1, 4 and 16, and several lengths, in four passes over all of them (40 minutes on
two cores). The median over the passes is what is forecast; the noise floor is the same point measured twice:
how far two of the passes are from the other two. Without it the times in FILE.json are read. Then:

- held-out shapes: the forecaster is fitted to all shapes but two at a time, and forecasts those two;
- held-out architecture: it is fitted to four families, and operations by themselves, and forecasts the fifth.

Reported are the median and the 90th percentile of the absolute percentage error, and how many times lie
within their 90% interval. Memory has a benchmark of its own, forecast_memory.py.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

sys.path[0] = str(Path(__file__).parent.parent)

from trilemma.hardware.process import prepare

prepare()

import numpy as np
from pydantic import TypeAdapter

from trilemma.files import write_text
from trilemma.forecasting import calibration
from trilemma.forecasting.calibration import Calibration, families
from trilemma.forecasting.forecaster import CONFIDENCE, Forecaster, Measured
from trilemma.forecasting.measuring import Bench
from trilemma.forecasting.passes import ForwardPass
from trilemma.hardware.machine import hardware, versions
from trilemma.operating_point import OperatingPoint
from trilemma.terminal import output

SHAPES = (
    (128, 2), (128, 6), (192, 4), (256, 2), (256, 8), (320, 4),
    (384, 2), (384, 6), (512, 4), (512, 8), (640, 3), (768, 4),
)  # fmt: skip
POINTS = tuple(
    OperatingPoint(batch, length, decode=65)
    for batch, lengths in {1: (16, 64, 256, 512), 4: (16, 64, 256), 16: (16, 64, 128)}.items()
    for length in lengths
)
PASSES = 4
"""Over all models, so that what slows the machine for some minutes is in one time of a point alone."""
LEFT_OUT = 2


class Noise(NamedTuple):
    """Median and 90th percentile of relative differences."""

    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.1%}, {self.high:.1%}"


Errors = dict[tuple[str, str], list[tuple[float, bool]]]
"""By phase and family: absolute relative errors, and whether the interval held."""


def one_pass(number: int) -> list[Measured]:
    """Every family at every shape and point."""
    from trilemma.study.console import progress_bar

    found: list[Measured] = []
    with progress_bar(output(), f"pass {number + 1} of {PASSES}") as progress:
        for done, shape in enumerate(SHAPES, 1):
            found += Bench(0.0).passes(list(families(*shape).values()), POINTS)
            progress(done, len(SHAPES), "shapes")
    return found


def measured(path: Path) -> None:
    """Time everything and write it down."""
    known = calibration.calibrate()
    content: dict[str, Any] = {
        "hardware": hardware(),
        "versions": versions(),
        "calibration": {
            "machine": known.machine.model_dump(mode="json"),
            "fingerprint": known.fingerprint,
            "measured": [],
            "operations": [asdict(one) for one in known.operations],
        },
        "passes": [],
    }
    for number in range(PASSES):
        content["passes"].append([asdict(one) for one in one_pass(number)])
        write_text(path, json.dumps(content))


def joined(passes: Sequence[list[Measured]]) -> list[Measured]:
    """The median time of each forward pass, over repetitions of all of them."""
    return [
        Measured(same[0].work, float(np.median([one.seconds for one in same])))
        for same in zip(*passes, strict=True)
    ]


def family(one: ForwardPass) -> str:
    """Its name."""
    if one.dimensions.family == "attention":
        return ("transformer-pp" if one.dimensions.own else "llama") if one.dimensions.causal else "bert"
    return one.dimensions.family


def dimensions(one: ForwardPass) -> tuple[int, int]:
    """Width and layers."""
    return one.dimensions.width, one.dimensions.layers


def held_out(
    times: list[Measured], known: Calibration, groups: list[set[Any]], group_of: Callable[[ForwardPass], Any]
) -> Errors:
    """Relative errors and whether the interval held, by phase and family, each group left out in turn."""
    found: Errors = {}
    for group in groups:
        kept = [one for one in times if group_of(one.work) not in group]
        left = [one for one in times if group_of(one.work) in group]
        forecaster = Forecaster(known.machine, kept, known.operations)
        for one, forecast in zip(left, forecaster.seconds([one.work for one in left]), strict=True):
            error = abs(forecast.value / one.seconds - 1)
            holds = forecast.low <= one.seconds <= forecast.high
            found.setdefault((one.work.phase, family(one.work)), []).append((error, holds))
    return found


def table(title: str, found: Errors, noise: dict[str, Noise]) -> None:
    """Print errors by phase and family, and over all."""
    print(f"\n### {title}\n")
    print("| phase | family | n | median error | 90th percentile | within the interval | noise floor |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    phases = dict.fromkeys(phase for phase, _ in found)
    for phase in phases:
        rows = {name: rows for (its, name), rows in found.items() if its == phase}
        everything = [one for some in rows.values() for one in some]
        for name, some in (*sorted(rows.items()), ("all", everything)):
            errors = np.array([error for error, _ in some])
            held = np.mean([holds for _, holds in some])
            floor = str(noise[phase]) if name == "all" else ""
            print(
                f"| {phase} | {name} | {len(some)} | {np.median(errors):.1%} | "
                f"{np.quantile(errors, 0.9):.1%} | {held:.0%} | {floor} |"
            )
    every = [one for some in found.values() for one in some]
    print(f"\nWithin the {CONFIDENCE:.0%} interval over all: {np.mean([holds for _, holds in every]):.1%}")


def noise_of(passes: Sequence[list[Measured]]) -> dict[str, Noise]:
    """How far every other pass is from the rest, by phase."""
    apart: dict[str, list[float]] = {}
    for one, other in zip(joined(passes[::2]), joined(passes[1::2]), strict=True):
        apart.setdefault(one.work.phase, []).append(abs(one.seconds / other.seconds - 1))
    return {
        phase: Noise(float(np.median(some)), float(np.quantile(some, 0.9))) for phase, some in apart.items()
    }


def main() -> int:
    """Measure if asked, and print the tables."""
    parser = argparse.ArgumentParser(description="accuracy of forecasts")
    parser.add_argument("--work", type=Path, required=True, help="file of the times")
    parser.add_argument("--measure", action="store_true", help="time the models again")
    parser.add_argument("--operations", action="store_true", help="time the operations alone again")
    options = parser.parse_args()
    if options.measure:
        measured(options.work)
    content = json.loads(options.work.read_text("utf-8"))
    if options.operations:
        timed = calibration.operations(Bench(calibration.SECONDS))
        content["calibration"]["operations"] = [asdict(one) for one in timed]
        write_text(options.work, json.dumps(content))
    passes = TypeAdapter(list[list[Measured]]).validate_python(content["passes"])
    times = joined(passes)
    known = TypeAdapter(Calibration).validate_python(content["calibration"])
    noise = noise_of(passes)
    print(f"{content['hardware']}\n{content['versions']}")
    print("noise floor: " + "; ".join(f"{phase} {share}" for phase, share in noise.items()))
    shapes = list(SHAPES)
    groups = [set(shapes[place :: len(shapes) // LEFT_OUT]) for place in range(len(shapes) // LEFT_OUT)]
    table("Held-out shapes", held_out(times, known, groups, dimensions), noise)
    names = sorted({family(one.work) for one in times})
    table("Held-out architecture", held_out(times, known, [{name} for name in names], family), noise)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
