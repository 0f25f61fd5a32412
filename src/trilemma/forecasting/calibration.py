"""Calibrating forecasts to this machine: its rates, a few small models timed on it, and the file of both."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from trilemma.errors import DeployError
from trilemma.files import write_text
from trilemma.forecasting.forecaster import Forecaster, Measured, MeasuredOperation
from trilemma.forecasting.measuring import FEWEST_RUNS, Subject, measure
from trilemma.hardware.catalogue import Machine
from trilemma.hardware.roofline import cache_folder, find, fingerprint
from trilemma.models.sizes import configuration
from trilemma.profiling.operations import Operation, forward, shape_of
from trilemma.profiling.points import Point
from trilemma.progress import Progress, silent

HERE = "here"
"""Name of the machine that this process runs on."""

VERSION = 2
"""Of the file."""

LARGEST_FILE = 16 << 20
"""Bytes of a calibration; a larger file is none."""

VOCABULARY = 4096
"""Rows of the embeddings of the models that are timed."""

SHAPES = ((128, 2), (256, 4), (384, 2), (512, 6))
"""Width and layers of the models that are timed, of each family."""

POINTS = (Point(1, 16), Point(1, 256), Point(4, 64), Point(16, 32))

DECODE = 33
"""Tokens generated after each prompt."""

SECONDS = 0.05
"""Aimed at for the runs of a point, of which there are at least five."""


@dataclass(frozen=True)
class Calibration:
    """What a machine was found to do.

    Attributes:
        machine: its rates.
        fingerprint: of hardware and software; a calibration of another one is not used.
        measured: passes of small models.
        operations: operations by themselves.
    """

    machine: Machine
    fingerprint: str
    measured: tuple[Measured, ...]
    operations: tuple[MeasuredOperation, ...]


def path_here() -> Path:
    """Where this machine's calibration is kept."""
    return cache_folder() / "calibration.json"


def families(width: int, layers: int, vocabulary: int = VOCABULARY) -> dict[str, Subject]:
    """One model of each family that forecasts know, of about that shape, in float32."""
    from transformers import BertConfig, LlamaConfig

    heads = max(2, width // 64)
    common: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }
    own = {
        arch: configuration(
            arch,
            "nano",
            vocabulary,
            hidden_size=width,
            num_hidden_layers=layers,
            intermediate_size=None,
            num_heads=count,
        )
        for arch, count in (("transformer-pp", heads), ("gla", 4), ("matmul-free", 1))
    }
    llama = LlamaConfig(**common, num_key_value_heads=heads, intermediate_size=64 * round(width * 8 / 192))
    bert = BertConfig(**common, intermediate_size=4 * width)
    subjects = {name: Subject(config) for name, config in own.items()}
    return {**subjects, "llama": Subject(llama), "bert": Subject(bert, classifier=True)}


def this_machine(device: str = "cpu") -> Machine:
    """The rates of this machine, measured now or known from before.

    Args:
        device: torch device that is meant.
    """
    roofline = find(device, ("float32", "bfloat16", "float16", "int8", "packed")).roofline
    gpu = torch.device(device).type == "cuda"
    memory = torch.cuda.get_device_properties(device).total_memory if gpu else psutil.virtual_memory().total
    return Machine(
        name=HERE,
        kind="gpu" if gpu else "cpu",
        cores=1 if gpu else torch.get_num_threads(),
        flops=dict(roofline.flops),
        bandwidth=roofline.bandwidth,
        memory=memory,
    )


def calibrate(progress: Progress = silent) -> Calibration:
    """Time small models of every family and their operations on this machine's processor."""
    subjects = [one for shape in SHAPES for one in families(*shape).values()]
    total = len(subjects) * len(POINTS)

    def told(done: float, total: float, unit: str) -> None:
        progress(done, total + 1, unit)

    machine = this_machine()
    measured = measure(subjects, POINTS, decode=DECODE, seconds=SECONDS, progress=told)
    timed = list(operations())
    progress(total + 1, total + 1, "points")
    return Calibration(machine, fingerprint("cpu"), tuple(measured), tuple(timed))


def operations() -> Iterator[MeasuredOperation]:
    """Kernels by themselves: what mixes tokens, and products of matrices, of few tokens and of many."""
    for width in (256, 512, 1024):
        for tokens in (1, 4, 16, 64, 256, 1024):
            yield from _products(width, tokens)
    for width in (256, 512):
        for batch, length in ((1, 128), (1, 512), (8, 64)):
            yield from _mixing(width, batch, length)


def _products(width: int, tokens: int) -> Iterator[MeasuredOperation]:
    """A weight of ``width`` by four of it, not in the caches: by PyTorch, by our kernels, and ternary."""
    from trilemma.ops import dense
    from trilemma.ops.ternary import packed as packed_ternary

    x, norm = torch.randn(tokens, width), torch.ones(width)
    copies = max(2, (64 << 20) // (16 * width * width))
    dense_weights = [torch.randn(4 * width, width) for _ in range(copies)]
    levels = torch.randint(-1, 2, (4 * width, width), dtype=torch.int8)
    packed = [packed_ternary.pack(levels) for _ in range(copies)]
    scale = torch.ones(1)

    def ternary(weight: torch.Tensor) -> object:
        return packed_ternary.packed_linear(x, weight, scale, norm, 1e-6, lambda: levels)

    flops, moved = 8.0 * tokens * width * width, 20.0 * tokens * width
    runs: list[tuple[Operation, str, list[torch.Tensor], Callable[[torch.Tensor], object]]] = [
        (
            Operation("linear", flops, 16.0 * width * width, moved, 1.0),
            "float32",
            dense_weights,
            lambda weight: torch.nn.functional.linear(x, weight),
        ),
        (Operation("ternary", flops, 1.0 * width * width, moved, 1.0), "packed", packed, ternary),
    ]
    if tokens <= dense.FEW:
        compiled = Operation("linear", flops, 16.0 * width * width, moved, 1.0, "compiled")
        runs.append((compiled, "float32", dense_weights, lambda weight: dense.linear(x, weight)))
    for operation, precision, weights, run in runs:
        works = [partial(run, weight) for weight in weights]
        with torch.inference_mode():
            yield MeasuredOperation(operation, precision, tokens, _median(works))


def _mixing(width: int, batch: int, length: int) -> Iterator[MeasuredOperation]:
    """Attention, chunkwise GLA and the scan."""
    from trilemma.ops.attention import attention
    from trilemma.ops.gla import gla
    from trilemma.ops.mlgru import mlgru

    heads, size = width // 64, 64
    q, k, v = (torch.randn(batch, heads, length, size) for _ in range(3))
    keys, values = width // 8, width // 4
    gq, gk = (torch.randn(batch, length, 4, keys) for _ in range(2))
    gv, decay = torch.randn(batch, length, 4, values), -torch.rand(batch, length, 4, keys)
    runs: dict[str, tuple[str, Callable[[], object]]] = {
        "transformer-pp": ("attention", partial(attention, q, k, v, is_causal=True)),
        "gla": ("gla", partial(gla, gq, gk, gv, decay)),
        "matmul-free": ("scan", partial(mlgru, *torch.randn(2, batch, length, width))),
    }
    known = families(width, 1)
    for name, (kind, run) in runs.items():
        subject = known[name]
        work = forward(shape_of(subject.config), batch, length, length, subject.precision)
        operation = next(one for one in work if one.kind == kind)
        with torch.inference_mode():
            yield MeasuredOperation(operation, subject.precision, batch * length, _median([run]))


def _median(runs: Sequence[Callable[[], object]]) -> float:
    """Seconds of one run, those given in turn so that none finds its weight in the caches."""
    import time

    taken = []
    for place in range(max(2 * len(runs), FEWEST_RUNS + 1)):
        start = time.perf_counter()
        runs[place % len(runs)]()
        taken.append(time.perf_counter() - start)
    half = sorted(taken[len(taken) // 2 :])  # the first half warms up
    return half[len(half) // 2]


def write(calibration: Calibration, path: Path) -> None:
    """Write a calibration: whole or absent.

    Raises:
        StoreError: if the disk is full or the folder cannot be written.
    """
    content = {
        "version": VERSION,
        "machine": calibration.machine.model_dump(mode="json"),
        "fingerprint": calibration.fingerprint,
        "measured": [asdict(one) for one in calibration.measured],
        "operations": [asdict(one) for one in calibration.operations],
    }
    write_text(path, json.dumps(content, indent=1))


def read(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        DeployError: if there is none, or it is damaged.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DeployError(f"{path} is too large for a calibration; run `trilemma calibrate` again")
        content = json.loads(path.read_text("utf-8"))
        version = content.pop("version")
        if version != VERSION:
            raise DeployError(
                f"{path} is of version {version}, not {VERSION}; run `trilemma calibrate` again"
            )
        return TypeAdapter(Calibration).validate_python(content)
    except FileNotFoundError as error:
        raise DeployError(
            "this machine is not calibrated; run `trilemma calibrate` (two minutes), or name a machine of "
            "the catalogue"
        ) from error
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeployError(f"{path} is damaged ({reason}); run `trilemma calibrate` again") from error


def forecaster(known: Calibration) -> Forecaster:
    """Of the machine that was calibrated.

    Raises:
        DeployError: if its numbers are none that a machine can have.
    """
    try:
        return Forecaster(known.machine, known.measured, known.operations)
    except DeployError:
        raise
    except Exception as error:  # numbers from a file, of which types alone are known
        raise DeployError(
            f"the calibration cannot be used ({error}); run `trilemma calibrate` again"
        ) from error


def forecaster_like_here(machine: Machine) -> Forecaster:
    """Of a machine of a file; with this machine's measurements where it is this one in all but its costs."""
    try:
        known = here()
    except DeployError:  # not calibrated, or not any more: then no machine of a file is like this one
        return Forecaster(machine)
    costs = machine.model_dump(include={"name", "price", "watts", "sources"})
    if known.machine.model_copy(update=costs) != machine:
        return Forecaster(machine)
    return forecaster(replace(known, machine=machine))


def here() -> Calibration:
    """This machine's calibration.

    Raises:
        DeployError: if there is none, or it is of other hardware or software.
    """
    known = read(path_here())
    if known.fingerprint != fingerprint("cpu"):
        raise DeployError(
            "this machine was calibrated with other hardware or software; run `trilemma calibrate` again"
        )
    return known
