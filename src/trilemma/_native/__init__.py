"""The compiled CPU kernels: finding them, choosing among instruction sets, calling them.

They are built when the package is installed, if there is a C++ compiler; without them the operators compute
with PyTorch alone. ``TRILEMMA_KERNELS`` names a path (``avx512``, ``avx2``, ``neon``, ``portable``), or
``torch`` for none.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from trilemma.errors import TrilemmaError

VARIABLE = "TRILEMMA_KERNELS"
TORCH = "torch"
"""Stands for no compiled path."""

_VERSION = 3
_TYPES = {torch.float32: 0, torch.bfloat16: 1}

FLOATS = tuple(_TYPES)
"""Dtypes that the kernels read and write."""


@cache
def _library() -> ctypes.CDLL | None:
    """The library, or None where it was not built."""
    for folder in __path__:  # an editable install has two: the sources and what was built
        found = Path(folder) / "kernels.so"
        if found.is_file():
            break
    else:
        return None
    library = ctypes.CDLL(str(found))
    if library.trilemma_version() != _VERSION:
        raise TrilemmaError(f"{found} was built from other sources; install trilemma again")
    library.trilemma_path.restype = ctypes.c_char_p
    library.trilemma_gla_segment.restype = ctypes.c_int64
    return library


def paths() -> list[str]:
    """Compiled paths that this processor can run, best first; empty where none was built."""
    library = _library()
    names: list[str] = []
    while library is not None and (name := library.trilemma_path(len(names))) is not None:
        names.append(name.decode())
    return names


class _Choice:
    """The path in use, settled at the first question."""

    name: str | None = None


def path() -> str:
    """The path in use: the best that this processor can run, or what ``TRILEMMA_KERNELS`` asks for.

    Raises:
        TrilemmaError: if the one asked for is not there.
    """
    if _Choice.name is None:
        use(os.environ.get(VARIABLE) or (paths() or [TORCH])[0])
    assert _Choice.name is not None
    return _Choice.name


def use(name: str) -> None:
    """Compute with the path of that name from now on.

    Raises:
        TrilemmaError: if this processor or this installation lacks it.
    """
    library = _library()
    if name != TORCH and (library is None or library.trilemma_use(name.encode()) != 0):
        there = ", ".join([*paths(), TORCH])
        raise TrilemmaError(f"no compiled kernels {name!r} here (set by {VARIABLE}?); there are {there}")
    _Choice.name = name


@contextmanager
def using(name: str) -> Iterator[None]:
    """Compute with the path of that name inside the block."""
    before = path()
    use(name)
    try:
        yield
    finally:
        use(before)


def available() -> bool:
    """Whether compiled kernels are in use."""
    return path() != TORCH


def kernel(device: torch.device | str) -> str:
    """Name of the path where compiled kernels serve ``device``; "" elsewhere."""
    return f"compiled-{path()}" if torch.device(device).type == "cpu" and available() else ""


def serves(*tensors: torch.Tensor | None) -> bool:
    """Whether compiled kernels are in use and take these tensors: on the CPU, float32 or bfloat16.

    While ``torch.compile`` or ``torch.jit`` traces they do not, since those see PyTorch's operators alone.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    return available() and all(t is None or _readable(t) for t in tensors)


def _readable(tensor: torch.Tensor) -> bool:
    return (
        tensor.is_cpu and tensor.dtype in _TYPES and not tensor.is_neg()
    )  # whose memory holds other numbers


def gla_segment(key: int, value: int) -> int:
    """Steps between the states that gated linear attention keeps for its gradients."""
    library = _library()
    assert library is not None
    return int(library.trilemma_gla_segment(ctypes.c_int64(key), ctypes.c_int64(value)))


def call(function: str, *arguments: object) -> None:
    """Call ``trilemma_<function>`` with torch's number of threads before the arguments.

    Tensors go as their addresses: they must be contiguous, and the caller keeps them alive. Whole numbers go
    as 64 bits; floats as C doubles, :class:`ctypes.c_float` where single precision is meant.
    """
    library = _library()
    assert library is not None
    getattr(library, f"trilemma_{function}")(
        ctypes.c_int32(torch.get_num_threads()), *(_argument(value) for value in arguments)
    )


def type_code(dtype: torch.dtype) -> int:
    """Number of an element type among the kernels."""
    return _TYPES[dtype]


def strided(tensor: torch.Tensor) -> ctypes.c_void_p:
    """The address of a tensor whose strides the function is told."""
    return ctypes.c_void_p(tensor.data_ptr())


def _argument(value: object) -> object:
    if isinstance(value, torch.Tensor):
        assert value.is_contiguous()
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, bool):
        return ctypes.c_int32(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    if isinstance(value, float):
        return ctypes.c_double(value)
    if isinstance(value, torch.dtype):
        return ctypes.c_int32(_TYPES[value])
    return value  # None, or of ctypes already
