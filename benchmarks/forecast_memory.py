"""How well peak memory is forecast: models of several families and shapes, measured as profiles are.

    python benchmarks/forecast_memory.py

Five families (the three architectures, a Llama and a BERT of Hugging Face's) at several widths, depths,
batches and lengths; those that generate write 16 tokens. Peaks are measured as `trilemma profile` does.
Printed are the error of the forecast of each peak, and whether bytes of weights and state are those of the
tensors (5 minutes on two cores).
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

sys.path[0] = str(Path(__file__).parent.parent)

from trilemma.hardware.process import prepare

prepare()

import numpy as np
import torch

from trilemma.forecasting.calibration import families
from trilemma.forecasting.measuring import RandomModel
from trilemma.forecasting.memory import memory_of
from trilemma.forecasting.models import ForecastModel
from trilemma.hardware.machine import hardware, versions
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.models import ModelUnderTest
from trilemma.profiling.peaks import Peak, Work, peaks_by_process
from trilemma.terminal import output

SHAPES = ((256, 8), (512, 4), (768, 12))
POINTS = (OperatingPoint(1, 2048), OperatingPoint(16, 128), OperatingPoint(16, 512))
DECODE = 16
VOCABULARY = 30_000
LARGE = 200e6
"""Bytes from which a peak's forecast is judged."""


class Outcome(NamedTuple):
    """One point: bytes forecast and measured, and whether those of weights and state are the tensors'."""

    family: str
    shape: tuple[int, int]
    point: OperatingPoint
    forecast: float
    peak: float
    exact: bool

    @property
    def error(self) -> float:
        """Relative to the measured peak."""
        return self.forecast / self.peak - 1


def saved(model: RandomModel, folder: Path) -> None:
    """Write a model with random weights."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    made_by = AutoModelForCausalLM if model.generates else AutoModelForSequenceClassification
    torch.manual_seed(0)
    made_by.from_config(model.config).save_pretrained(folder)


def measured(family: str, shape: tuple[int, int], model: RandomModel, folder: Path) -> Iterator[Outcome]:
    """Every point of one model that has the positions for it."""
    saved(model, folder)
    decode = DECODE if model.generates else 0
    points = [point._replace(decode=decode) for point in POINTS]
    points = [one for one in points if one.length + decode <= (model.shape.positions or 10**9)]
    precision = "packed" if model.precision == "packed" else "float32"
    forecast, tested = ForecastModel.find(str(folder)), ModelUnderTest((family,), folder, precision=precision)
    works = [Work(tested, "generate" if decode else "classify", point) for point in points]
    for point, peak in zip(points, peaks_by_process(works, "cpu", 600), strict=True):
        if not isinstance(peak, Peak):
            raise SystemExit(f"{family} at {point}: {peak.reason}")
        memory = memory_of(forecast, precision, point)
        parts = {"weights": memory.weights, "state": memory.state}
        exact = all(peak.parts.get(name, 0) == size for name, size in parts.items())
        yield Outcome(family, shape, point, memory.peak, peak.bytes, exact)


def main() -> int:
    """Measure and print the table."""
    from trilemma.study.console import progress_bar

    found: list[Outcome] = []
    models = [(shape, *item) for shape in SHAPES for item in families(*shape, vocabulary=VOCABULARY).items()]
    with TemporaryDirectory() as made, progress_bar(output(), "peak memory") as progress:
        for number, (shape, family, model) in enumerate(models):
            found += measured(family, shape, model, Path(made) / str(number))
            progress(number + 1, len(models), "models")
    print(f"{hardware()}\n{versions()}\n")
    print("| family | width x layers | batch x length | forecast | measured | error | weights and state |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for one in sorted(found):
        print(
            f"| {one.family} | {one.shape[0]} x {one.shape[1]} | {one.point.batch} x {one.point.length} | "
            f"{one.forecast / 1e6:.1f} MB | {one.peak / 1e6:.1f} MB | {one.error:+.1%} | "
            f"{'exact' if one.exact else 'NOT EXACT'} |"
        )
    large = np.array([abs(one.error) for one in found if one.peak > LARGE])
    within = int((large <= 0.05).sum())
    print(
        f"\nAbove {LARGE / 1e6:.0f} MB: {within} of {len(large)} within 5%, median {np.median(large):.1%}, "
        f"largest {large.max():.1%}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
