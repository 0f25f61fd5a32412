"""Operators: one file each, a plain reference and a fast path with the same signature.

Time-mixing operators take ``[B, T, H, K]`` (batch, time, heads, channels) and know nothing of models.
Import the one that is needed: ``gla``, ``linear_scan``, ``ternary``, ``packed_ternary``,
``matmul_free_step``, ``norms``, ``rotary``, ``short_conv``.
"""

from contextlib import AbstractContextManager


def by_pytorch() -> AbstractContextManager[None]:
    """Compute without compiled kernels inside the block, as for tools that look into PyTorch's operators."""
    from trilemma import _native

    return _native.using(_native.TORCH)


def compiled_kernels() -> str:
    """Whether compiled kernels are in use, and which others there are."""
    from trilemma import _native

    there = _native.paths()
    if not there:
        return "not built: PyTorch computes; install a C++ compiler, then trilemma again"
    others = [name for name in there if name != _native.path()]
    also = f" (also there: {', '.join(others)})" if others else ""
    return f"{_native.path()}{also}; {_native.VARIABLE} chooses"
