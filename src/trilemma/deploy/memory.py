"""Memory that a model needs: weights and state exactly, activations by the largest set alive at once."""

from dataclasses import dataclass

from trilemma.deploy.cases import Case
from trilemma.profile.operations import ACTIVATION_BYTES, state_bytes


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a pass.

    Attributes:
        weights: of the model, once.
        state: KV cache or recurrent state at the end.
        activations: alive beside both.
    """

    weights: float
    state: float
    activations: float

    @property
    def peak(self) -> float:
        """All of it."""
        return self.weights + self.state + self.activations

    def divided(self, tensor: int, pipeline: int, kv_heads: int) -> "Memory":
        """What each device of a plan holds.

        All share the weights. The state is divided by heads; a pipeline divides its layers, but holds as many
        batches in flight as it has stages. The stream's tensors are not divided.
        """
        return Memory(
            self.weights / (tensor * pipeline), self.state / min(tensor, kv_heads), self.activations
        )


def memory_of(case: Case, weights: float, state_tokens: int = 0) -> Memory:
    """Bytes at the peak.

    Args:
        case: the pass that is over most tokens.
        weights: bytes of the weights.
        state_tokens: tokens of each sequence whose state is kept in the end; 0 for a classifier.
    """
    kept = state_bytes(case.shape, case.batch, state_tokens, case.precision) if state_tokens else 0.0
    return Memory(weights, kept, activation_bytes(case))


def activation_bytes(case: Case) -> float:
    """Tensors alive at the widest place of a block: in its MLP, or where tokens are mixed, or at the head.

    The stream and its normed copy are alive throughout; a gated MLP holds gate and value side by side and
    their product, another one its hidden layer before and after the activation; mixing holds queries, keys,
    values and the output.
    """
    shape, size = case.shape, ACTIVATION_BYTES[case.precision]
    tokens = case.batch * (1 if case.phase == "decode" else case.length)
    mlp = (3 if shape.gated else 2) * shape.mlp_width
    mixing = 2 * (shape.keys + shape.values)
    block = tokens * (2 * shape.width + max(mlp, mixing))
    head = 0 if case.phase == "classify" else case.batch * shape.vocabulary + tokens * shape.width
    return float(max(block, head)) * size
