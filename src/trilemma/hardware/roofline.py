"""What this machine's memory and multipliers give at best: the roof under which every model runs.

Two kinds of rates (Williams, Waterman & Patterson 2009, Communications of the ACM 52(4)): bytes per second
that memory is read at, and operations per second of a large product of matrices in each precision. They are
measured once on a machine and kept in the user's cache folder, by a fingerprint of the hardware. A glance at
each use finds out rates that were measured while the machine did something else.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from trilemma.errors import StoreError
from trilemma.files import cache_folder, write_text
from trilemma.hardware.machine import HERE, PRECISIONS, Machine, hardware, memory_of

READ_BYTES = 256 << 20
"""Read at a time: several times the largest cache of a processor."""

GPU_READ_BYTES = 2 << 30
"""Likewise, of an accelerator."""

SMALLEST, LARGEST = 512, 16384
"""Rows and columns of the matrices that are multiplied: doubled until a product takes long enough."""

LONG_ENOUGH = 0.02
"""Seconds of a product beside which starting it costs nothing."""

SECONDS = 0.5
"""Spent on the repetitions of each rate, at least."""

FEWEST = 5
"""Repetitions; the fastest counts, since a roof is what the machine can do."""


BUSY = 1.25
"""A product that is this many times as fast as the kept rate says: that was measured on a busy machine."""


class Found(NamedTuple):
    """This machine with its rates, and a remark on where they come from ("" for none)."""

    machine: Machine
    note: str


def fingerprint(device: str) -> str:
    """What rates depend on, in one line."""
    import torch

    from trilemma.ops.ternary import packed as packed_ternary

    kernel = packed_ternary.kernel(device)
    return f"{hardware(device, clock=False)}, torch {torch.__version__}, ternary products by {kernel}"


def read_rate(
    device: str, *, size: int | None = None, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Bytes per second at which memory is read, by a sum over far more than the caches hold.

    Args:
        device: torch device.
        size: bytes that are read at a time.
        clock: seconds, monotonic.
    """
    import torch

    from trilemma.models.placement import place_in_large_pages

    size = size or (GPU_READ_BYTES if torch.device(device).type == "cuda" else READ_BYTES)
    holder = torch.nn.Module()
    holder.register_buffer("source", torch.ones(size // 4, device=device))
    place_in_large_pages(holder)
    (source,) = holder.buffers()
    return size / fastest(lambda: source.sum(), device, clock)


def product(device: str, precision: str, size: int) -> Callable[[], object]:
    """A product of square matrices of so many rows.

    Args:
        device: torch device.
        precision: a name of torch's, ``int8`` (products of bytes), or ``packed`` (two-bit weights times
            bytes, by the kernel of MatMul-Free models).
        size: rows and columns.
    """
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


def matrix_rate(
    device: str,
    precision: str,
    *,
    smallest: int = SMALLEST,
    product: Callable[[str, str, int], Callable[[], object]] = product,
    clock: Callable[[], float] = time.perf_counter,
) -> float | None:
    """Operations per second of a product of square matrices, a multiply-add as two.

    Args:
        device: torch device.
        precision: as :func:`product` takes it.
        smallest: rows of the first matrices that are tried.
        product: makes what is timed, from device, precision and rows.
        clock: seconds, monotonic.

    Returns:
        None where the device cannot multiply in that precision.
    """
    import torch

    size, most = smallest, LARGEST
    try:
        while True:
            try:
                work = product(device, precision, size)
                work()
                seconds = _once(work, device, clock)
                if seconds >= LONG_ENOUGH or size >= most:
                    return 2.0 * size**3 / fastest(work, device, clock)
                size *= 2
            except torch.OutOfMemoryError:
                if size == smallest:
                    return None
                size, most = size // 2, size // 2
    except (RuntimeError, NotImplementedError, TypeError):  # what torch raises for a kernel that it lacks
        return None


def glance(device: str) -> float:
    """Operations per second of a small product in float32, in a moment: less than the machine can do."""
    size = 2 * SMALLEST
    return 2.0 * size**3 / fastest(product(device, "float32", size), device, seconds=0.0)


def fastest(
    work: Callable[[], object],
    device: str,
    clock: Callable[[], float] = time.perf_counter,
    seconds: float = SECONDS,
) -> float:
    """Seconds of the fastest repetition, after one that does not count."""
    work()
    taken = [_once(work, device, clock)]
    begun = clock()
    while len(taken) < FEWEST or clock() - begun < seconds:
        taken.append(_once(work, device, clock))
    return min(taken)


def _once(work: Callable[[], object], device: str, clock: Callable[[], float]) -> float:
    import torch

    def now() -> float:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        return clock()

    start = now()
    with torch.inference_mode():
        work()
    return now() - start


def find(
    device: str,
    precisions: Sequence[str] = PRECISIONS,
    *,
    folder: Path | None = None,
    read: Callable[[str], float] = read_rate,
    multiply: Callable[[str, str], float | None] = matrix_rate,
    glance: Callable[[str], float] = glance,
) -> Found:
    """This machine with its rates, from the cache or measured now.

    Args:
        device: torch device.
        precisions: whose matrix rates are needed.
        folder: of the cache; by default the user's.
        read: measures the rate of memory.
        multiply: measures the rate of products in a precision.
        glance: a lower limit of the rate of products in float32.

    Returns:
        The machine; the note says where a cached file was damaged or of a busy machine, or could not be
        written.
    """
    made_for = fingerprint(device)
    name = hashlib.sha256(made_for.encode()).hexdigest()[:16]
    path = (folder or cache_folder()) / f"machine-{name}.json"
    kept, notes = _cached(path, made_for)
    if kept is not None and glance(device) > BUSY * kept.machine.flops.get("float32", math.inf):
        kept = None
        notes = [f"the machine's rates in {path} were those of a busy machine; they were measured again"]
    known = kept or _Cached(fingerprint=made_for, machine=_bare(device, read(device)), tried=[])
    missing = [one for one in dict.fromkeys(precisions) if one not in known.tried]
    if kept and not missing:
        return Found(known.machine, "")
    rates = {precision: rate for precision in missing if (rate := multiply(device, precision)) is not None}
    machine = Machine.model_validate(known.machine.model_dump() | {"flops": known.machine.flops | rates})
    known = _Cached(fingerprint=made_for, machine=machine, tried=[*known.tried, *missing])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, known.model_dump_json(indent=1) + "\n")
    except (OSError, StoreError) as error:
        notes.append(
            f"the machine's rates could not be kept in {path} ({error}); they are measured each time"
        )
    return Found(machine, "; ".join(notes))


def _bare(device: str, bandwidth: float) -> Machine:
    """This machine without matrix rates."""
    import torch

    gpu = torch.device(device).type == "cuda"
    return Machine(
        name=HERE,
        kind="gpu" if gpu else "cpu",
        cores=1 if gpu else torch.get_num_threads(),
        flops={},
        bandwidth=bandwidth,
        memory=memory_of(device),
    )


class _Cached(BaseModel):
    """The file: a machine, and the precisions that were tried, of which it may lack some."""

    model_config = ConfigDict(extra="forbid")

    fingerprint: str
    machine: Machine
    tried: list[str]


def _cached(path: Path, made_for: str) -> tuple[_Cached | None, list[str]]:
    """What the cache holds for the fingerprint, and what is wrong with it."""
    try:
        known = _Cached.model_validate(json.loads(path.read_text("utf-8")))
        if known.fingerprint == made_for:
            return known, []
        reason = "it is of another machine"
    except FileNotFoundError:
        return None, []
    except ValidationError as error:
        reason = str(error.errors(include_url=False)[0]["msg"])
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    return None, [f"the machine's rates in {path} were damaged ({reason}); they were measured again"]
