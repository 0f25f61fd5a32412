"""``trilemma calibrate`` and ``trilemma forecast``, and the half of ``trilemma decide`` that forecasts."""

import json as json_format
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trilemma.decision.deployments import Aim, Deployment, Objective
    from trilemma.forecasting.forecast import Forecast, Workload
    from trilemma.forecasting.forecaster import Forecaster, Seconds
    from trilemma.hardware.catalogue import Machine

WORKLOADS = {"chat": (512, 256), "classify": (128, 0)}
"""Tokens of the prompt and tokens generated."""

SHOWN = 12
"""Deployments in the table; all of them with ``--json``."""


def calibrate(
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, for `--on FILE.json`; default this machine's in the user's cache."),
    ] = None,
) -> None:
    """Time small models on this machine, so that forecasts for it rest on measurements (two minutes)."""
    from trilemma.files import disk_errors
    from trilemma.forecasting import calibration
    from trilemma.study.console import progress_bar
    from trilemma.terminal import output

    path = out or calibration.path_here()
    if path.suffix != ".json":
        raise _refused(f"--out {path} is no .json file; name one")
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    console = output()
    with progress_bar(console, "calibrating") as progress:
        found = calibration.calibrate(progress)
    calibration.write(found, path)
    rates = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in found.machine.flops.items())
    for line in (
        f"memory is read at {found.machine.bandwidth / 1e9:.1f} GB/s; GFLOP/s: {rates}",
        f"{len(found.measured)} passes timed; calibration: {path}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def forecast(
    model: Annotated[str, typer.Argument(help="A folder, a hub id, or ARCH:SIZE, e.g. gla:small.")],
    on: Annotated[
        str,
        typer.Option(help="Machine: a name of the catalogue, a YAML file of one, `here`, or a calibration."),
    ] = "here",
    batch: Annotated[str, typer.Option(help="Batch sizes, e.g. 1,4,16.")] = "1",
    length: Annotated[str, typer.Option(help="Tokens of each prompt, e.g. 128,512.")] = "128,512",
    decode: Annotated[int, typer.Option(help="Tokens generated; 0 to classify.")] = 64,
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16 or packed.")] = "auto",
    tensor: Annotated[int, typer.Option(help="Devices that share each matrix.")] = 1,
    pipeline: Annotated[int, typer.Option(help="Devices that each hold a run of layers.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Forecast how fast a model would serve on a machine, and in how much memory."""
    from itertools import product

    from trilemma.forecasting.candidates import candidate
    from trilemma.forecasting.forecast import Plan, Workload
    from trilemma.forecasting.forecast import forecast as foresee

    forecaster = forecaster_of(on)
    chosen = candidate(model, forecaster.machine, precision, classifier=decode == 0)
    points = [
        Workload(b, t, decode) for b, t in product(numbers(batch, "--batch"), numbers(length, "--length"))
    ]
    found = [foresee(chosen, forecaster, point, Plan(tensor, pipeline)) for point in points]
    if json:
        rows = [{**asdict(point), **asdict(one)} for point, one in zip(points, found, strict=True)]
        typer.echo(json_format.dumps({"model": model, "machine": on, "forecasts": rows}, indent=1))
        return
    _tell_forecasts(f"{model} in {chosen.precision} on {forecaster.machine.name}", points, found)


def _tell_forecasts(title: str, points: "Sequence[Workload]", found: "Sequence[Forecast]") -> None:
    from rich.table import Table

    from trilemma.analysis.metrics import format_value
    from trilemma.terminal import output

    console = output()
    generates = found[0].tpot is not None
    columns = ["batch", "length", "TTFT, ms" if generates else "latency, ms"]
    columns += ["TPOT, ms", "batch latency, ms", "tokens/s"] if generates else ["texts/s"]
    table = Table(*columns, "memory", "fits", box=None)
    for point, one in zip(points, found, strict=True):
        cells = [str(point.batch), str(point.length), interval(one.ttft, 1e3)]
        if one.tpot is not None and one.decode_throughput is not None:
            cells += [interval(one.tpot, 1e3), interval(one.batch_latency, 1e3)]
            cells.append(interval(one.decode_throughput, 1))
        elif generates or point.decode:
            cells += ["", interval(one.batch_latency, 1e3), ""]
        else:
            cells.append(interval(one.throughput, 1))
        table.add_row(*cells, format_value(one.memory.peak, "bytes"), "yes" if one.fits else "no")
    console.print(title, markup=False, highlight=False)
    console.print(table)
    basis = "in brackets, 90% intervals"
    if found[0].basis == "description":
        basis = "from the machine's description alone, in brackets a factor of 2.5 either way; no quantile"
    console.print(basis, markup=False, highlight=False)


def interval(seconds: "Seconds", scale: float) -> str:
    """A value with its interval, to three digits."""
    value, low, high = (short(one * scale) for one in seconds)
    return f"{value} [{low}, {high}]"


def short(value: float) -> str:
    """Three digits, and no powers of ten."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def numbers(text: str, option: str) -> list[int]:
    """Positive whole numbers between commas.

    Raises:
        DeployError: naming the option.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) <= 8 and 0 < int(part) <= 10_000_000 for part in parts):
        raise _refused(f"{option} {text!r} is no list of positive whole numbers like 1,4,16")
    return [int(part) for part in parts]


def forecaster_of(name: str) -> "Forecaster":
    """Of a machine by its name, file, or this one.

    Raises:
        DeployError: if there is none.
    """
    from trilemma.forecasting import calibration
    from trilemma.hardware.catalogue import find_machine, is_file

    if name == calibration.HERE:
        return calibration.forecaster(calibration.here())
    if name.endswith(".json"):
        return calibration.forecaster(calibration.read(Path(name)))
    return _forecaster(find_machine(name, _here), from_file=is_file(name))


def _here() -> "Machine":
    from trilemma.forecasting import calibration

    return calibration.here().machine


def _forecaster(machine: "Machine", *, from_file: bool) -> "Forecaster":
    from trilemma.forecasting import calibration
    from trilemma.forecasting.forecaster import Forecaster

    return calibration.forecaster_like_here(machine) if from_file else Forecaster(machine)


def decide_by_forecasts(
    models: str,
    machines: str,
    workload: str,
    slo: str,
    max_cost: float | None,
    precision: str,
    batch: str,
    devices: str,
    aim: "Aim",
    json: bool,
    scores: "Mapping[str, Mapping[str, float]] | None" = None,
) -> bool:
    """Enumerate, forecast, reject and rank, and print it.

    Args:
        models: with commas.
        machines: names of the catalogue, ``here``, or a YAML file, with commas.
        workload: ``chat``, ``classify`` or a YAML file with ``length`` and ``decode``.
        slo: bounds, e.g. ``ttft=200ms,tpot=40ms``.
        max_cost: of a million sequences.
        precision: with commas.
        batch: with commas.
        devices: tensor-parallel degrees, with commas.
        aim: cost, energy or throughput.
        json: whether to print JSON.
        scores: measured scores of models, by name and metric.

    Returns:
        Whether any deployment will do.
    """
    from trilemma.decision.deployments import choose
    from trilemma.forecasting.candidates import candidate
    from trilemma.forecasting.forecast import Plan

    asked = workload_of(workload)
    pairs = [
        (one, forecaster)
        for forecaster in forecasters_of(machines)
        for name in names(models, "--models")
        for one in dict.fromkeys(
            candidate(name, forecaster.machine, wanted, classifier=asked.decode == 0)
            for wanted in names(precision, "--precision")
        )
    ]
    found = choose(
        pairs,
        asked,
        objective_of(slo, max_cost),
        batches=numbers(batch, "--batch"),
        plans=[Plan(tensor) for tensor in numbers(devices, "--devices")],
        aim=aim,
    )
    if json:
        rows = [{**asdict(one), "scores": (scores or {}).get(one.model, {})} for one in found]
        typer.echo(json_format.dumps(rows, indent=1))
    else:
        _tell_deployments(found, aim, scores or {})
    return any(not one.reasons for one in found)


def _tell_deployments(
    found: "Sequence[Deployment]", aim: str, scores: "Mapping[str, Mapping[str, float]]"
) -> None:
    from rich.table import Table
    from rich.text import Text

    from trilemma.terminal import output

    console = output()
    fitting = [one for one in found if not one.reasons]
    metrics = list(dict.fromkeys(metric for some in scores.values() for metric in some))
    table = Table(
        *("model", "machine", "precision", "batch", "plan", "TTFT, ms", "TPOT, ms", "sequences/s"),
        *("cost of a million", "J a sequence (estimate)", *metrics),
        box=None,
    )
    for one in fitting[:SHOWN]:
        assert one.forecast is not None
        measured = [f"{scores.get(one.model, {}).get(metric, float('nan')):.3f}" for metric in metrics]
        described = one.forecast.basis == "description"
        cells = [
            f"{one.model} {_BARELY}" if one.uncertain else one.model,
            f"{one.machine} {_DESCRIBED}" if described else one.machine,
            *(one.precision, str(one.batch), str(one.plan)),
            interval(one.forecast.ttft, 1e3),
            interval(one.forecast.tpot, 1e3) if one.forecast.tpot else "",
            interval(one.forecast.throughput, 1),
            "" if one.cost is None else short(one.cost),
            "" if one.joules is None else short(one.joules),
            *measured,
        ]
        table.add_row(*(Text(cell) for cell in cells))
    if fitting:
        console.print(f"{len(fitting)} of {len(found)} deployments will do; the best by {aim} first:")
        console.print(table)
    else:
        console.print(f"none of {len(found)} deployments will do")
    for line in _remarks(found, aim):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


_BARELY, _DESCRIBED = "\u2020", "*"


def _remarks(found: "Sequence[Deployment]", aim: str) -> "Iterator[str]":
    """What the table leaves out, its marks, and why the others are rejected."""
    from trilemma.decision.deployments import rejections

    fitting = [one for one in found if not one.reasons]
    shown = fitting[:SHOWN]
    if len(fitting) > SHOWN:
        yield f"{len(fitting) - SHOWN} more will do; --json lists all"
    lacks = {"cost": "price", "energy": "watts"}.get(aim)
    unranked = [one for one in fitting if lacks and (one.cost if aim == "cost" else one.joules) is None]
    if unranked:
        machines = ", ".join(dict.fromkeys(one.machine for one in unranked))
        yield f"not ranked, as their machine has no `{lacks}`, hence last: {len(unranked)} on {machines}"
    if any(one.uncertain for one in shown):
        yield f"{_BARELY} meets the bounds by the point forecast alone; its interval reaches beyond"
    if any(one.forecast is not None and one.forecast.basis == "description" for one in shown):
        yield (
            f"{_DESCRIBED} from the machine's description alone: in brackets a factor of 2.5 either way, no "
            "quantile"
        )
    for kind, (count, nearest, reason) in rejections(found).items():
        plan = "" if nearest.plan.devices == 1 else f", {nearest.plan}"
        where = f"{nearest.model} in {nearest.precision} on {nearest.machine}, batch {nearest.batch}{plan}"
        yield f"rejected, {kind}: {count}; nearest: {where}" + (f" ({reason})" if reason != kind else "")


def forecasters_of(machines: str) -> "list[Forecaster]":
    """Of every machine that is named, or listed in a file."""
    from trilemma.hardware.catalogue import is_file, machines_in

    found: list[Forecaster] = []
    for name in names(machines, "--machines"):
        if is_file(name):
            found += [_forecaster(machine, from_file=True) for machine in machines_in(name, _here)]
        else:
            found.append(forecaster_of(name))
    return found


def names(text: str, option: str) -> list[str]:
    """What stands between commas, each once.

    Raises:
        DeployError: if there is nothing.
    """
    found = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise _refused(f"{option} names nothing; give at least one")
    return found


def workload_of(text: str) -> "Workload":
    """A workload by its name or file.

    Raises:
        DeployError: if it is neither.
    """
    import yaml

    from trilemma.forecasting.forecast import Workload

    if text in WORKLOADS:
        return Workload(1, *WORKLOADS[text])
    path = Path(text)
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise _refused(
            f"--workload {text!r} is not {' or '.join(WORKLOADS)}, nor a YAML file with length and decode"
        ) from error
    known = {"length", "decode"}
    if not isinstance(content, dict) or set(content) != known:
        raise _refused(f"{path} must hold `length` and `decode`, and nothing else")
    if not all(type(value) is int for value in content.values()):
        raise _refused(f"{path}: length and decode are whole numbers of tokens")
    return Workload(1, content["length"], content["decode"])


_UNITS = {"ms": 1e-3, "s": 1.0, "us": 1e-6}
_BOUNDS = ("ttft", "tpot", "latency")


def objective_of(slo: str, max_cost: float | None) -> "Objective":
    """Bounds from ``ttft=200ms,tpot=40ms``.

    Raises:
        DeployError: for another name, or no time.
    """
    import re

    from trilemma.decision.deployments import Objective

    bounds: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in slo.split(","))):
        match = re.fullmatch(r"(\w+)\s*=\s*([0-9.]+)\s*(ms|us|s)", part)
        if (
            match is None
            or match[1] not in _BOUNDS
            or len(match[2]) > 20
            or match[2].count(".") > 1
            or match[2] == "."
        ):
            raise _refused(
                f"--slo {part!r} is no bound like ttft=200ms; known: {', '.join(_BOUNDS)}, in ms, us or s"
            )
        bounds[match[1]] = float(match[2]) * _UNITS[match[3]]
    if max_cost is not None and not 0 < max_cost < float("inf"):
        raise _refused("--max-cost is a positive number, of a million sequences")
    return Objective(**bounds, cost=max_cost)


def _refused(sentence: str) -> Exception:
    from trilemma.errors import DeployError

    return DeployError(sentence)
