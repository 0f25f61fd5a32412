"""How much work and memory a stage will take, before it runs: for the plan and for the time left.

Rough on purpose: two operations per weight and token forwards, four more backwards; Adam keeps two
copies of the weights beside weights and gradients, all float32.
"""

from trilemma.study.origin import Origin
from trilemma.study.stage import StageEstimate
from trilemma.tasks.task import Examples

_TOKENS_PER_WORD = 1.4
_ACTIVATION_BYTES = 5e-3
"""Activations kept for the backward pass, per token and weight: about 5 kB a token for a million weights."""

STAGE_SECONDS = 1.0
"""Time that every stage takes beyond its operations: loading, saving, starting."""


def tokens(examples: Examples, max_length: int) -> float:
    """Mean tokens of an item, from the words of up to 500 of them."""
    step = max(1, len(examples) // 500)
    sample = examples.texts[::step]
    words = [sum(len(text.split()) for text in texts) for texts in sample]
    return sum(min(max_length, count * _TOKENS_PER_WORD + 2) for count in words) / max(1, len(words))


def training(origin: Origin, tokens: float, tokens_per_step: float) -> StageEstimate:
    """Training on ``tokens`` tokens."""
    weights, embeddings = origin.weights or 0, origin.embeddings or 0
    activations = weights * tokens_per_step * _ACTIVATION_BYTES
    return StageEstimate(6 * weights * tokens, 16 * (weights + embeddings) + activations)


def answering(origin: Origin, tokens: float) -> StageEstimate:
    """A forward pass over ``tokens`` tokens."""
    weights, embeddings = origin.weights or 0, origin.embeddings or 0
    return StageEstimate(2 * weights * tokens, 4.0 * (weights + embeddings))
