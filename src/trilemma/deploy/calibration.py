"""Calibrating forecasts to this machine: its rates, a few small models timed on it, and the file of both."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from trilemma.deploy.cases import Case
from trilemma.deploy.forecaster import Forecaster, Measured, MeasuredOperation
from trilemma.deploy.machines import Machine
from trilemma.deploy.measuring import FEWEST_RUNS, Subject, measure
from trilemma.errors import DeployError
from trilemma.files import write_text
from trilemma.models.sizes import configuration
from trilemma.profile.operations import Operation, forward, shape_of
from trilemma.profile.points import Point
from trilemma.profile.roofline import cache_folder, find, fingerprint
from trilemma.progress import Progress, silent

HERE = "here"
"""Name of the machine that this process runs on."""

VERSION = 1
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

    def forecaster(self) -> Forecaster:
        """Of this machine."""
        return Forecaster(self.machine, self.measured, self.operations)


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
    """The rates of this machine, measured now or known from before."""
    roofline = find(device, ("float32", "bfloat16", "int8", "packed")).roofline
    memory = psutil.virtual_memory().total
    return Machine(
        name=HERE,
        kind="cpu",
        cores=torch.get_num_threads(),
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
    operations = list(_operations())
    progress(total + 1, total + 1, "points")
    return Calibration(machine, fingerprint("cpu"), tuple(measured), tuple(operations))


def _operations() -> Iterator[MeasuredOperation]:
    """The kernels that mix tokens, by themselves: attention, chunkwise GLA, the scan."""
    import time

    from trilemma.ops.attention import attention
    from trilemma.ops.gla import gla
    from trilemma.ops.mlgru import mlgru

    def timed(run: Callable[[], object]) -> float:
        run()
        taken = []
        for _ in range(FEWEST_RUNS):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
        return sorted(taken)[FEWEST_RUNS // 2]

    for width in (256, 512):
        known = families(width, 1)
        for batch, length in ((1, 128), (1, 512), (8, 64)):
            heads, size = width // 64, 64
            q, k, v = (torch.randn(batch, heads, length, size) for _ in range(3))
            mixed: dict[str, Callable[[], object]] = {
                "transformer-pp": partial(attention, q, k, v, is_causal=True)
            }
            keys, values = width // 8, width // 4
            q, k = (torch.randn(batch, length, 4, keys) for _ in range(2))
            v, decay = torch.randn(batch, length, 4, values), -torch.rand(batch, length, 4, keys)
            mixed["gla"] = partial(gla, q, k, v, decay)
            mixed["matmul-free"] = partial(mlgru, *torch.randn(2, batch, length, width))
            for name, run in mixed.items():
                subject = known[name]
                work = forward(shape_of(subject.config), batch, length, length, subject.precision)
                kinds = {"transformer-pp": "attention", "gla": "gla", "matmul-free": "scan"}
                operation = next(one for one in work if one.kind == kinds[name])
                with torch.inference_mode():
                    yield MeasuredOperation(operation, subject.precision, timed(run))


def write(calibration: Calibration, path: Path) -> None:
    """Write a calibration: whole or absent.

    Raises:
        StoreError: if the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
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


__all__ = ["Calibration", "Case", "Operation", "calibrate", "families", "here", "read", "write"]
