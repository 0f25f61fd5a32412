"""How well peak memory is forecast: models of several families and shapes, each point in a fresh process.

    python benchmarks/forecast_memory.py

Five families (the three architectures, a Llama and a BERT of Hugging Face's) at several widths, depths,
batches and lengths; those that generate write 16 tokens. Peaks are measured as `trilemma profile` does.
Printed are the error of the forecast of each peak, and whether bytes of weights and state are those of the
tensors (5 minutes on two cores).
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

sys.path[0] = str(Path(__file__).parent.parent)

from trilemma.hardware.process import prepare

prepare()

import numpy as np
import torch

from trilemma.forecasting.calibration import families
from trilemma.forecasting.candidates import candidate
from trilemma.forecasting.forecast import Workload, memory_for
from trilemma.forecasting.measuring import Subject
from trilemma.hardware.catalogue import find_machine
from trilemma.hardware.machine import hardware, versions
from trilemma.profiling.grid import EfficiencyGrid
from trilemma.profiling.measurements.memory import Peak, Work, in_fresh_processes
from trilemma.profiling.points import Point
from trilemma.profiling.session import Session
from trilemma.profiling.subject import ProfiledModel
from trilemma.terminal import output

SHAPES = ((256, 8), (512, 4), (768, 12))
POINTS = (Point(1, 2048), Point(16, 128), Point(16, 512))
DECODE = 16
VOCABULARY = 30_000
LARGE = 200e6
"""Bytes from which a peak's forecast is judged."""

MACHINE = "epyc-9654"
"""A processor with every precision: only its kind matters to memory."""


class Outcome(NamedTuple):
    """One point: bytes forecast and measured, and whether those of weights and state are the tensors'."""

    family: str
    shape: tuple[int, int]
    point: Point
    forecast: float
    peak: float
    exact: bool

    @property
    def error(self) -> float:
        """Relative to the measured peak."""
        return self.forecast / self.peak - 1


def saved(subject: Subject, folder: Path) -> None:
    """Write a model with random weights."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    made_by = AutoModelForCausalLM if subject.generates else AutoModelForSequenceClassification
    torch.manual_seed(0)
    made_by.from_config(subject.config).save_pretrained(folder)


def measured(family: str, shape: tuple[int, int], subject: Subject, folder: Path) -> Iterator[Outcome]:
    """Every point of one model that has the positions for it."""
    saved(subject, folder)
    form: Any = "packed" if subject.precision == "packed" else "plain"
    decode = DECODE if subject.generates else 0
    model = ProfiledModel((family,), folder, form=form)
    session = Session([model], EfficiencyGrid(time_limit=600), device="cpu", clock=time.perf_counter)
    limit = subject.shape.positions or 10**9
    points = [point for point in POINTS if point.length + decode <= limit]
    chosen = candidate(
        str(folder), find_machine(MACHINE), subject.precision, classifier=not subject.generates
    )
    works = [Work(model, point, decode=decode or None) for point in points]
    for point, peak in zip(points, in_fresh_processes(session, works), strict=True):
        if not isinstance(peak, Peak):
            raise SystemExit(f"{family} at {point}: {peak.reason}")
        memory = memory_for(chosen, Workload(point.batch, point.length, decode))
        parts = {"weights": memory.weights, "state": memory.state}
        exact = all(peak.parts.get(name, 0) == size for name, size in parts.items())
        yield Outcome(family, shape, point, memory.peak, peak.bytes, exact)


def main() -> int:
    """Measure and print the table."""
    from trilemma.study.console import progress_bar

    found: list[Outcome] = []
    subjects = [
        (shape, *item) for shape in SHAPES for item in families(*shape, vocabulary=VOCABULARY).items()
    ]
    with TemporaryDirectory() as made, progress_bar(output(), "peak memory") as progress:
        for number, (shape, family, subject) in enumerate(subjects):
            found += measured(family, shape, subject, Path(made) / str(number))
            progress(number + 1, len(subjects), "models")
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
