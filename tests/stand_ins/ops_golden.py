"""Where the operators' golden vectors lie."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor


def load_golden(name: str) -> dict[str, Tensor]:
    """Tensors of one ``ops-*`` folder; ``tests/golden/README.md`` says what they are."""
    return load_file(Path(__file__).parent.parent / "golden" / name / "io.safetensors")
