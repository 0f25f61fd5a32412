"""What this machine's memory and multipliers give at best: the roof under which every model runs.

Two kinds of rates (Williams, Waterman & Patterson 2009, Communications of the ACM 52(4)): bytes a second that
memory is read at, and operations a second of a large product of matrices in each precision. They are measured
once a machine and kept in the user's cache folder, by a fingerprint of the hardware.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trilemma.errors import StoreError
from trilemma.files import write_text

READ_BYTES = 256 << 20
"""Read at a time: several times the largest cache of a processor."""

GPU_READ_BYTES = 2 << 30
"""Likewise, of an accelerator."""

SMALLEST, LARGEST = 512, 16384
"""Rows and columns of the matrices that are multiplied: doubled until a product takes long enough."""

LONG_ENOUGH = 0.02
"""Seconds: then starting a product costs nothing that could be seen."""

SECONDS = 0.5
"""Spent on the repetitions of each rate, at least."""

FEWEST = 5
"""Repetitions; the fastest counts, since a roof is what the machine can do."""

Rate = Annotated[float, Field(ge=1, le=1e30)]


class Roofline(BaseModel):
    """Rates of one machine.

    Attributes:
        machine: processor, cores, threads, memory, torch, compiled kernels; the GPU if that was measured.
        bandwidth: bytes a second that memory is read at.
        flops: operations a second of a product of matrices, by precision (``float32``, ``bfloat16``,
            ``float16``, ``int8``, ``packed``); those that the machine cannot multiply are absent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str = Field(max_length=1000)
    bandwidth: Rate
    flops: dict[str, Rate]


class Found(NamedTuple):
    """Rates, and what is to be said of where they come from ("" for nothing)."""

    roofline: Roofline
    note: str


def cache_folder() -> Path:
    """Where rates are kept: ``trilemma`` in ``XDG_CACHE_HOME``, by default in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trilemma"


def fingerprint(device: str) -> str:
    """What rates depend on, in one line."""
    import torch

    from trilemma.hardware.machine import hardware
    from trilemma.ops.ternary import packed as packed_ternary

    kernel = packed_ternary.kernel(device)
    return f"{hardware(device, clock=False)}, torch {torch.__version__}, ternary products by {kernel}"


def find(device: str, precisions: Sequence[str], folder: Path | None = None) -> Found:
    """This machine's rates, from the cache or measured now.

    Args:
        device: torch device.
        precisions: whose matrix rates are needed.
        folder: of the cache; by default :func:`cache_folder`.

    Returns:
        The rates; its note says where a cached file was damaged, or could not be written.
    """
    machine = fingerprint(device)
    name = hashlib.sha256(machine.encode()).hexdigest()[:16]
    path = (folder or cache_folder()) / f"roofline-{name}.json"
    known, notes = _cached(path, machine)
    missing = [one for one in dict.fromkeys(precisions) if known is None or one not in known.tried]
    if known is not None and not missing:
        return Found(known.roofline, "")
    bandwidth = read_rate(device) if known is None else known.roofline.bandwidth
    flops = {} if known is None else dict(known.roofline.flops)
    for precision in missing:
        rate = matrix_rate(device, precision)
        if rate is not None:
            flops[precision] = rate
    roofline = Roofline(machine=machine, bandwidth=bandwidth, flops=flops)
    tried = [*(known.tried if known else []), *missing]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, _Cached(roofline=roofline, tried=tried).model_dump_json(indent=1) + "\n")
    except (OSError, StoreError) as error:
        notes.append(
            f"the machine's rates could not be kept in {path} ({error}); they are measured each time"
        )
    return Found(roofline, "; ".join(notes))


class _Cached(BaseModel):
    """The file: rates, and the precisions that were tried, of which the machine may lack some."""

    model_config = ConfigDict(extra="forbid")

    roofline: Roofline
    tried: list[str]


def _cached(path: Path, machine: str) -> tuple[_Cached | None, list[str]]:
    """What the cache holds for the machine, and what is wrong with it."""
    try:
        known = _Cached.model_validate(json.loads(path.read_text("utf-8")))
        if known.roofline.machine == machine:
            return known, []
        reason = "it is of another machine"
    except FileNotFoundError:
        return None, []
    except ValidationError as error:
        reason = str(error.errors(include_url=False)[0]["msg"])
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    return None, [f"the machine's rates in {path} were damaged ({reason}); they were measured anew"]


def read_rate(device: str) -> float:
    """Bytes a second at which memory is read, by a sum over far more than the caches hold."""
    import torch

    from trilemma.models.placement import place_in_large_pages

    size = GPU_READ_BYTES if torch.device(device).type == "cuda" else READ_BYTES
    holder = torch.nn.Module()
    holder.register_buffer("source", torch.ones(size // 4, device=device))
    place_in_large_pages(holder)
    (source,) = holder.buffers()
    return size / _fastest(lambda: source.sum(), device)


def matrix_rate(device: str, precision: str) -> float | None:
    """Operations a second of a product of square matrices, a multiply-add as two.

    Args:
        device: torch device.
        precision: a name of torch's, ``int8`` (products of bytes), or ``packed`` (two-bit weights times
            bytes, by the kernel of MatMul-Free models).

    Returns:
        None where the device cannot multiply in that precision.
    """
    import torch

    size, most = SMALLEST, LARGEST
    try:
        while True:
            try:
                product = _product(device, precision, size)
                seconds = _once(product, device, warm=True)
                if seconds >= LONG_ENOUGH or size >= most:
                    return 2.0 * size**3 / _fastest(product, device)
                size *= 2
            except torch.OutOfMemoryError:
                if size == SMALLEST:
                    return None
                size, most = size // 2, size // 2
    except (RuntimeError, NotImplementedError, TypeError):  # what torch raises for a kernel that it lacks
        return None


def _product(device: str, precision: str, size: int) -> Callable[[], object]:
    import torch

    from trilemma.ops.ternary import packed as packed_ternary

    generator = torch.Generator().manual_seed(0)
    if precision == "int8":
        left, right = (
            torch.randint(-127, 128, (size, size), generator=generator, dtype=torch.int8).to(device)
            for _ in range(2)
        )
        return lambda: torch._int_mm(left, right)
    rows = torch.randn(size, size, generator=generator)
    if precision == "packed":
        levels = torch.randint(-1, 2, (size, size), generator=generator, dtype=torch.int8)
        packed, rows = packed_ternary.pack(levels).to(device), rows.to(device)
        scale, norm, levels = torch.ones(1, device=device), torch.ones(size, device=device), levels.to(device)
        return lambda: packed_ternary.packed_linear(rows, packed, scale, norm, 1e-6, lambda: levels)
    dtype: torch.dtype = getattr(torch, precision)
    left, right = rows.to(device, dtype), rows.t().contiguous().to(device, dtype)
    return lambda: torch.mm(left, right)


def _once(work: Callable[[], object], device: str, *, warm: bool = False) -> float:
    """Seconds of one repetition, after one that does not count where ``warm``."""
    import torch

    if warm:
        work()
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    with torch.inference_mode():
        work()
    if cuda:
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _fastest(work: Callable[[], object], device: str) -> float:
    """Seconds of the fastest repetition."""
    taken = [_once(work, device, warm=True)]
    begun = time.perf_counter()
    while len(taken) < FEWEST or time.perf_counter() - begun < SECONDS:
        taken.append(_once(work, device))
    return min(taken)
