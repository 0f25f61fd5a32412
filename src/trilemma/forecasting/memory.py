"""Memory that a model needs: weights and state exactly, activations by the largest set alive at once."""

from dataclasses import dataclass, replace

from trilemma.forecasting.cases import Case
from trilemma.models.key_value_cache import spare_tokens
from trilemma.profiling.operations import ACTIVATION_BYTES, state_bytes

BUFFERS = 5e5
"""Bytes of tables of positions and the allocator's rounding, about."""

PAGE = 2 << 20
"""Bytes of a large page, in which large tensors lie (:mod:`trilemma.hardware.process`)."""


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a pass.

    Attributes:
        weights: of the model, once.
        state: KV cache or recurrent state at the end.
        activations: alive beside both.
        room: of the KV cache for tokens to come.
    """

    weights: float
    state: float
    activations: float
    room: float = 0.0

    @property
    def peak(self) -> float:
        """All of it."""
        return self.weights + self.state + self.activations + self.room

    def divided(self, tensor: int, pipeline: int, kv_heads: int) -> "Memory":
        """What each device of a plan holds.

        All share the weights. The state and its room are divided by heads; a pipeline divides their layers,
        but holds as many batches in flight as it has stages. The stream's tensors are not divided.
        """
        shared = min(tensor, kv_heads)
        return Memory(
            self.weights / (tensor * pipeline), self.state / shared, self.activations, self.room / shared
        )


def memory_of(case: Case, weights: float, state_tokens: int = 0) -> Memory:
    """Bytes at the peak.

    Args:
        case: the pass that is over most tokens.
        weights: bytes of the weights.
        state_tokens: tokens of each sequence whose state is kept in the end; 0 for a classifier.
    """
    kept = state_bytes(case.shape, case.batch, state_tokens, case.precision) if state_tokens else 0.0
    room = _room_bytes(case) if state_tokens else 0.0
    return Memory(weights, kept, activation_bytes(case), room)


def activation_bytes(case: Case) -> float:
    """Tensors alive at the widest place of a block: in its MLP, or where tokens are mixed, or at the head.

    Of the stream are alive the embedding, the block's input and what the MLP is given, and in a decoder,
    whose norm comes first, the residual beside it. A gated MLP holds gate and value and their product,
    another one its hidden layer before and after the activation; mixing holds queries, keys, values and the
    output. The products' kernels hold a copy of the MLP's matrix.
    """
    shape, size = case.shape, ACTIVATION_BYTES[case.precision]
    tokens = case.batch * (1 if case.phase == "decode" else case.length)
    mlp = (4 if shape.causal else 3) * shape.width + (3 if shape.gated else 2) * shape.mlp_width
    mixing = 3 * shape.width + 2 * (shape.keys + shape.values)
    head = 0 if case.phase == "classify" else case.batch * shape.vocabulary + tokens * shape.width
    copied = shape.width * shape.mlp_width
    return float(max(tokens * max(mlp, mixing), head) + copied) * size + BUFFERS


def _room_bytes(case: Case) -> float:
    """Memory that our key-value cache has for tokens to come, as far as it is resident.

    It lies behind the tokens of each head, and becomes resident with them where both share a large page: of a
    tensor of S bytes that begins anywhere, S - :data:`PAGE` bytes lie in whole pages. Layers with a window
    have none.
    """
    shape = case.shape
    if not shape.own or shape.family != "attention" or shape.windowed == shape.layers:
        return 0.0
    spare = spare_tokens(case.length)
    unbounded = replace(shape, layers=shape.layers - shape.windowed, window=None, windowed=0)
    whole = state_bytes(unbounded, case.batch, case.length + spare, case.precision)
    in_pages = max(0.0, 1 - PAGE / (whole / (2 * unbounded.layers)))
    return in_pages * whole * spare / (case.length + spare)
