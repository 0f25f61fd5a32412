"""How much work and memory a stage will take, before it runs: for the plan and for the time left.

Rough on purpose: two operations a weight and token forwards, four more backwards; Adam keeps two
copies of the weights beside weights and gradients, all float32.
"""

from typing import TYPE_CHECKING

from trilemma.profiling.grid import EfficiencyGrid
from trilemma.tasks.task import Examples

if TYPE_CHECKING:
    from trilemma.study.origin import Origin

_TOKENS_A_WORD = 1.4
_ACTIVATION_BYTES_A_TOKEN_AND_WEIGHT = 5e-3
"""Activations kept for the backward pass: about 5 kB a token for a million weights."""


_OPERATIONS_A_SECOND = 3e10
"""Of a small processor in small models: what turns the profile's time budget into work."""


_PROCESS_SECONDS = 10.0
"""For starting the fresh process in which a model's memory is measured."""

STAGE_SECONDS = 1.0
"""What every stage takes beyond its operations: loading, saving, starting."""


def tokens(examples: Examples, max_length: int) -> float:
    """Mean tokens an item, from the words of up to 500 of them."""
    step = max(1, len(examples) // 500)
    sample = examples.texts[::step]
    words = [sum(len(text.split()) for text in texts) for texts in sample]
    return sum(min(max_length, count * _TOKENS_A_WORD + 2) for count in words) / max(1, len(words))


def training(origin: "Origin", tokens: float, tokens_a_step: float) -> tuple[float, float]:
    """Operations, and peak bytes, of training on ``tokens`` tokens."""
    weights, embeddings = _known(origin)
    activations = weights * tokens_a_step * _ACTIVATION_BYTES_A_TOKEN_AND_WEIGHT
    return 6 * weights * tokens, 16 * (weights + embeddings) + activations


def answering(origin: "Origin", tokens: float) -> tuple[float, float]:
    """Operations, and peak bytes, of a forward pass over ``tokens`` tokens."""
    weights, embeddings = _known(origin)
    return 2 * weights * tokens, 4.0 * (weights + embeddings)


def profiling(origins: list["Origin"], grid: EfficiencyGrid | None) -> tuple[float, float]:
    """Operations, and peak bytes, of the efficiency grid: of its largest training step, the dearest work."""
    if grid is None:
        return 0.0, 0.0
    points = len(grid.batch) * len(grid.length) * (2 if grid.decode else 1)
    points += len(grid.training.batch) * len(grid.training.length)
    seconds = len(origins) * points * grid.seconds * 2  # as much again for warming up and measuring memory
    seconds += len(origins) * _PROCESS_SECONDS
    step = max(grid.training.batch) * max(grid.training.length)
    return seconds * _OPERATIONS_A_SECOND, max(training(origin, 0, step)[1] for origin in origins)


def _known(origin: "Origin") -> tuple[int, int]:
    return origin.weights or 0, origin.embeddings or 0
