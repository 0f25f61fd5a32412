"""Operators: a file or a folder each, with plain PyTorch and fast paths behind one signature.

They take tensors, in time mixing ``[B, T, H, K]`` (batch, time, heads, channels), and know nothing of models.
``decoding`` is another idea: a whole token through all layers of a model in one call.
"""

from contextlib import AbstractContextManager


def by_pytorch() -> AbstractContextManager[None]:
    """Compute without compiled kernels inside the block, for tools that look into PyTorch's operators."""
    from trilemma import _native

    return _native.using(_native.TORCH)


def compiled_kernels() -> str:
    """Whether compiled kernels are in use, and which others there are."""
    from trilemma import _native

    available = _native.paths()
    if not available:
        return "not built: PyTorch computes; install a C++ compiler, then trilemma again"
    others = [name for name in available if name != _native.path()]
    also = f" (also available: {', '.join(others)})" if others else ""
    return f"{_native.path()}{also}; {_native.VARIABLE} chooses"
