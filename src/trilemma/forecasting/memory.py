"""Memory that a model needs: weights and state exactly, activations by the largest set alive at once."""

from dataclasses import dataclass, replace

from trilemma.forecasting.models import ForecastModel
from trilemma.forecasting.passes import ForwardPass
from trilemma.models.key_value_cache import spare_tokens
from trilemma.operating_point import OperatingPoint
from trilemma.profiling.operations import ACTIVATION_BYTES, state_bytes

KEPT_FREE = 0.1
"""Share of a device's memory that is kept free for everything else."""

BUFFERS = 5e5
"""Bytes of tables of positions and of the allocator's rounding, roughly."""

ERROR = 1.05
"""Factor within which forecasts of 39 peaks of five families on a processor were, all of them."""

UNCHECKED = "no interval: forecasts of memory were held against peaks of single processors alone"
"""Why the peak of another machine has none."""

PAGE = 2 << 20
"""Bytes of a large page, in which large tensors are kept (:mod:`trilemma.hardware.process`)."""


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
        """The sum of all parts."""
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


def memory_of(model: ForecastModel, precision: str, point: OperatingPoint) -> Memory:
    """Bytes at the peak on one device that serves an operating point."""
    largest = ForwardPass(
        model.dimensions, precision, "prefill" if point.decode else "classify", point.batch, point.length
    )
    weights = model.weight_bytes(precision, classifier=not point.decode)
    if not point.decode:
        return Memory(weights, 0.0, activation_bytes(largest))
    # The last token is chosen, but not fed back.
    kept = state_bytes(model.dimensions, point.batch, point.length + point.decode - 1, precision)
    return Memory(weights, kept, activation_bytes(largest), _room_bytes(largest))


def activation_bytes(one: ForwardPass) -> float:
    """Tensors alive at the widest place of a block: in its MLP, or where tokens are mixed, or at the head.

    Of the stream are alive the embedding, the block's input and what the MLP is given, and in a decoder,
    whose norm comes first, the residual beside it. A gated MLP holds gate and value and their product,
    another one its hidden layer before and after the activation; mixing holds queries, keys, values and the
    output. The products' kernels hold a copy of the MLP's matrix.
    """
    model, size = one.dimensions, ACTIVATION_BYTES[one.precision]
    mlp = (4 if model.causal else 3) * model.width + (3 if model.gated else 2) * model.mlp_width
    mixing = 3 * model.width + 2 * (model.keys + model.values)
    head = 0 if one.phase == "classify" else one.batch * model.vocabulary + one.tokens * model.width
    copied = model.width * model.mlp_width
    return float(max(one.tokens * max(mlp, mixing), head) + copied) * size + BUFFERS


def _room_bytes(one: ForwardPass) -> float:
    """Memory that our key-value cache has for tokens to come, as far as it is resident.

    It stands behind the tokens of each head, and becomes resident with them where both share a large page:
    of a tensor of S bytes that begins anywhere, S - :data:`PAGE` bytes are in whole pages. Layers with a
    window have none.
    """
    model = one.dimensions
    if not model.own or model.family != "attention" or model.windowed == model.layers:
        return 0.0
    spare = spare_tokens(one.length)
    unbounded = replace(model, layers=model.layers - model.windowed, window=None, windowed=0)
    whole = state_bytes(unbounded, one.batch, one.length + spare, one.precision)
    in_pages = max(0.0, 1 - PAGE / (whole / (2 * unbounded.layers)))
    return in_pages * whole * spare / (one.length + spare)
