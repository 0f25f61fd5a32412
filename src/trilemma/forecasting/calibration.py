"""Calibrating forecasts to this machine: its rates, a few small models timed on it, and the file of both."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from trilemma.errors import DeployError
from trilemma.files import cache_folder, write_text
from trilemma.forecasting.forecaster import Forecaster, Measured, MeasuredOperation, Timing
from trilemma.forecasting.measuring import Bench, RandomModel, rotating
from trilemma.forecasting.passes import ForwardPass
from trilemma.forecasting.slices import STEPS, ForecastCheck, Slices, time_slices
from trilemma.hardware.machine import Machine
from trilemma.hardware.roofline import find, fingerprint
from trilemma.models.sizes import configuration
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.operations import Operation, forward
from trilemma.progress import Progress, parts_of, silent

VERSION = 4
"""Of the file's format."""

LARGEST_FILE = 16 << 20
"""Bytes; a larger file is not a calibration."""

VOCABULARY = 4096
"""Rows of the embeddings of the models that are timed."""

SHAPES = ((128, 2), (256, 4), (384, 2), (512, 4))
"""Width and layers of the models that are timed, of each family."""

POINTS = tuple(OperatingPoint(*point, decode=STEPS) for point in ((1, 16), (1, 256), (4, 64), (16, 32)))
"""Where they are timed."""

CHECKED = (512, 12)
"""Width and layers of the models that are timed as slices and whole."""

CHECKED_VOCABULARY = 32768
"""Rows of their embeddings: as in real models, heads outweigh layers."""

CHECK_POINTS = (OperatingPoint(1, 96, decode=STEPS), OperatingPoint(4, 48, decode=STEPS))
"""Where they are timed."""

_CHECKING, _ALONE = 3000.0, 400.0
"""How long slices and whole models take, and operations alone, where a layer of a shape takes its width."""

SECONDS = 0.05
"""Time that the repetitions of a model at a point, or of an operation, aim at."""


@dataclass(frozen=True)
class Calibration:
    """What a machine was found to do.

    Attributes:
        machine: its rates.
        fingerprint: of hardware and software; a calibration of another one is not used.
        measured: passes of small models.
        operations: operations by themselves.
        checks: how far forecasts by slices were off.
        unsteady: how many of these times scattered, drifted, or were repeated too rarely to tell.
    """

    machine: Machine
    fingerprint: str
    measured: tuple[Measured, ...]
    operations: tuple[MeasuredOperation, ...]
    checks: tuple[ForecastCheck, ...] = ()
    unsteady: int = 0


def path_here() -> Path:
    """Where this machine's calibration is kept."""
    return cache_folder() / "calibration.json"


def families(width: int, layers: int, vocabulary: int = VOCABULARY) -> dict[str, RandomModel]:
    """One model of each family that forecasts know, of about that shape, in float32."""
    from transformers import BertConfig, LlamaConfig

    heads = max(2, width // 64)
    common: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }
    shape: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": None}
    own = {
        arch: RandomModel(configuration(arch, "nano", vocabulary, num_heads=count, **shape))
        for arch, count in (("transformer-pp", heads), ("gla", 4), ("matmul-free", 1))
    }
    llama = LlamaConfig(**common, num_key_value_heads=heads, intermediate_size=64 * round(width * 8 / 192))
    bert = BertConfig(**common, intermediate_size=4 * width)
    return {**own, "llama": RandomModel(llama), "bert": RandomModel(bert, classifier=True)}


def calibrate(progress: Progress = silent, *, clock: Callable[[], float] = time.perf_counter) -> Calibration:
    """Time small models of every family and their operations on this machine's processor.

    What slows the machine for a while slows forecasts or what is measured later. So slices and whole models
    are timed first and last, and the forecasts of each time are held against what was measured at the other.

    Args:
        progress: is given the share of the work that is done.
        clock: seconds, monotonic.
    """
    machine, bench, checking = find("cpu").machine, Bench(SECONDS, clock), Bench(SECONDS, clock)
    measured: list[Measured] = []
    parts = parts_of(progress, [_CHECKING, *(width * layers for width, layers in SHAPES), _ALONE, _CHECKING])
    first = _sliced_and_whole(checking, machine, next(parts))
    for shape in SHAPES:
        measured += bench.passes(list(families(*shape).values()), POINTS, next(parts))
    timed = list(operations(bench))
    next(parts)(1.0, 1.0, "")
    checks = _checks(first, _sliced_and_whole(checking, machine, next(parts)))
    unsteady = bench.verdicts.total() - bench.verdicts["steady"]
    return Calibration(machine, fingerprint("cpu"), tuple(measured), tuple(timed), tuple(checks), unsteady)


Timed = dict[tuple[str, ForwardPass], tuple[float, float]]
"""By family and pass, the seconds that slices forecast, and that the whole model took."""


def _sliced_and_whole(bench: Bench, machine: Machine, progress: Progress) -> Timed:
    """Every family, and a Transformer of each kind in bfloat16 where the machine multiplies it."""
    from transformers import GPT2Config

    known = families(*CHECKED, CHECKED_VOCABULARY)
    width, layers = CHECKED
    # A fifth family that generates, so that four are left beside any one.
    gpt2 = GPT2Config(
        vocab_size=CHECKED_VOCABULARY,
        n_embd=width,
        n_layer=layers,
        n_head=width // 64,
        bos_token_id=0,
        eos_token_id=0,
    )
    models = [*known.items(), ("gpt2", RandomModel(gpt2))]
    if machine.multiplies("bfloat16"):
        models += [(name, replace(known[name], dtype="bfloat16")) for name in ("transformer-pp", "llama")]
    found: Timed = {}
    for done, (name, model) in enumerate(models, 1):
        whole = {one.work: one.seconds for one in bench.passes([model], CHECK_POINTS)}
        by_slices = time_slices(bench, model.config, list(whole), machine)
        found |= {(name, one): (time.value, whole[one]) for one, time in by_slices.items()}
        progress(done, len(models), "models")
    return found


def _checks(first: Timed, last: Timed) -> Iterator[ForecastCheck]:
    for (name, one), (forecast, whole) in first.items():
        if (name, one) in last:
            forecast_last, whole_last = last[name, one]
            for ratio in (whole_last / forecast, whole / forecast_last):
                yield ForecastCheck(name, one.phase == "decode", ratio)


def operations(bench: Bench) -> Iterator[MeasuredOperation]:
    """Kernels by themselves: what mixes tokens, and products of matrices, of few tokens and of many."""
    for width in (256, 512, 1024):
        for tokens in (1, 4, 16, 64, 256, 1024):
            yield from _products(bench, width, tokens)
    for width in (256, 512):
        for batch, length in ((1, 128), (1, 512), (8, 64)):
            yield from _mixing(bench, width, batch, length)


def _products(bench: Bench, width: int, tokens: int) -> Iterator[MeasuredOperation]:
    """A weight of ``width`` by four of it, not in the caches: dense by PyTorch and compiled, and ternary."""
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
    linear = Operation("linear", flops, 16.0 * width * width, moved, 1.0)
    runs: dict[tuple[Operation, str], Callable[[], object]] = {
        (linear, "float32"): rotating(lambda weight: torch.nn.functional.linear(x, weight), dense_weights),
        (Operation("ternary", flops, 1.0 * width * width, moved, 1.0), "packed"): rotating(ternary, packed),
    }
    if tokens <= dense.FEW_TOKENS:
        compiled = replace(linear, kernel="compiled")
        runs[compiled, "float32"] = rotating(lambda weight: dense.linear(x, weight), dense_weights)
    for (operation, precision), run in runs.items():  # in turn, one kind would evict the other's weights
        for seconds in bench.operations({operation: run}).values():
            yield MeasuredOperation(operation, precision, tokens, seconds)


def _mixing(bench: Bench, width: int, batch: int, length: int) -> Iterator[MeasuredOperation]:
    """Attention, chunkwise GLA and the scan."""
    from trilemma.ops.attention import attention
    from trilemma.ops.gla import gla
    from trilemma.ops.mlgru import mlgru

    heads, size = width // 64, 64
    q, k, v = (torch.randn(batch, heads, length, size) for _ in range(3))
    keys, values = width // 8, width // 4
    gq, gk = (torch.randn(batch, length, 4, keys) for _ in range(2))
    gv, decay = torch.randn(batch, length, 4, values), -torch.rand(batch, length, 4, keys)
    kinds = {"transformer-pp": "attention", "gla": "gla", "matmul-free": "scan"}
    runs: dict[str, Callable[[], object]] = {
        "transformer-pp": partial(attention, q, k, v, is_causal=True),
        "gla": partial(gla, gq, gk, gv, decay),
        "matmul-free": partial(mlgru, *torch.randn(2, batch, length, width)),
    }
    known = families(width, 1)
    for name, seconds in bench.operations(runs).items():
        model = known[name]
        work = forward(model.shape, batch, length, length, model.precision)
        operation = next(one for one in work if one.kind == kinds[name])
        yield MeasuredOperation(operation, model.precision, batch * length, seconds)


def write(calibration: Calibration, path: Path) -> None:
    """Write a calibration: whole or absent.

    Raises:
        StoreError: if the disk is full or the folder cannot be written.
    """
    content = TypeAdapter(Calibration).dump_python(calibration, mode="json")
    write_text(path, json.dumps({"version": VERSION, **content}, indent=1))


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
                f"{path} has the format {version}, not {VERSION}; run `trilemma calibrate` again"
            )
        return TypeAdapter(Calibration).validate_python(content)
    except FileNotFoundError as error:
        raise DeployError(
            "this machine is not calibrated; run `trilemma calibrate` (a few minutes), or name a machine of "
            "the catalogue"
        ) from error
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeployError(f"{path} is damaged ({reason}); run `trilemma calibrate` again") from error


def forecaster(known: Calibration) -> Forecaster:
    """The forecaster of the machine that was calibrated.

    Raises:
        DeployError: if no machine can have its numbers.
    """
    try:
        return Forecaster(known.machine, known.measured, known.operations, by_slices(known))
    except DeployError:
        raise
    except Exception as error:  # numbers from a file, of which only the types were checked
        raise DeployError(
            f"the calibration cannot be used ({error}); run `trilemma calibrate` again"
        ) from error


def by_slices(known: Calibration) -> Timing:
    """Forecasts of passes by slices, of none where the machine that was calibrated is not at hand."""
    if known.fingerprint != fingerprint("cpu"):
        return lambda config, passes, progress: {}
    made_for = hashlib.sha256(repr(known).encode()).hexdigest()
    return Slices(known.machine, known.checks, made_for, cache_folder() / "slices.json").seconds


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
