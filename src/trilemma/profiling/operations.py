"""What a model's forward pass computes and moves, operation by operation, from its configuration alone.

The counts are the usual ones (Yuan et al. 2024, arXiv 2402.16363, section 2): a product of [m, k] and [k, n]
takes 2 m k n FLOPs and moves the weight, its input and its output once; attention of q queries over t keys
takes 4 q t d per head; everything else moves its tensors. Roofline shares and forecasts are formed from them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from trilemma.errors import ModelError
from trilemma.models.description import family_of

Kind = Literal["linear", "ternary", "attention", "gla", "scan", "elementwise"]

Kernel = Literal["torch", "compiled"]
"""Whose code a product of matrices runs: PyTorch's, or that of the compiled kernels, for few tokens."""

WEIGHT_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0, "packed": 0.25}
"""Bytes per weight of the linear layers by precision; ``packed`` holds ternary weights."""

ACTIVATION_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 4.0, "packed": 4.0}
"""Bytes per activation by precision."""

GLA_CHUNK = 64
"""Longest chunk of GLA's chunkwise algorithm, in tokens."""

GATE_LOW_RANK = 16
"""Width between the two projections of GLA's gate, a constant of the published models."""

FIXED_KERNELS = 12.0
"""Kernels of a pass outside its layers: embedding, last norm, choice of positions and of the next token."""

COMPILED_SEQUENCES = 4
"""Most sequences of which the compiled decoding steps advance all layers in one call."""

STATE_BYTES = 4.0
"""Recurrent states are float32 in every precision."""


@dataclass(frozen=True)
class Dimensions:
    """Dimensions of a model that its cost depends on.

    Attributes:
        family: ``attention``, ``gla`` or ``matmul-free``: how tokens are mixed.
        causal: whether it can generate.
        layers: blocks.
        width: of the residual stream, D.
        heads: query heads.
        kv_heads: key and value heads.
        keys: width of all query heads together.
        values: width of all output heads together.
        mlp_width: of the feed-forward layer.
        gated: whether that has a gate, and so three matrices instead of two.
        vocabulary: rows of the embedding.
        window: keys that a query of some layers sees at most, or None.
        windowed: layers of which that holds.
        convolution: width of the short convolutions, 0 for none.
        output_gate: whether the mixed tokens are gated by a projection of the input.
        positions: the longest input, or None.
        own: whether it is a built-in architecture, which has compiled decoding steps on processors.
    """

    family: Literal["attention", "gla", "matmul-free"]
    causal: bool
    layers: int
    width: int
    heads: int
    kv_heads: int
    keys: int
    values: int
    mlp_width: int
    gated: bool
    vocabulary: int
    window: int | None = None
    windowed: int = 0
    convolution: int = 0
    output_gate: bool = False
    positions: int | None = None
    own: bool = False


@dataclass(frozen=True)
class Operation:
    """One kind of work of one layer, or of the head, as often as there are layers.

    Attributes:
        kind: what it does.
        flops: floating-point (or integer) operations, of all its occurrences.
        weight_bytes: of the weights that it reads.
        other_bytes: of activations and states, read and written.
        launches: kernels started.
        kernel: whose code it runs.
    """

    kind: Kind
    flops: float
    weight_bytes: float
    other_bytes: float
    launches: float
    kernel: Kernel = "torch"

    @property
    def bytes(self) -> float:
        """All bytes that the operation moves."""
        return self.weight_bytes + self.other_bytes


BUILT_IN = ("transformer-pp", "gla", "matmul-free")
"""Architectures of this package."""

_ENCODERS = {"bert", "roberta", "electra", "xlm-roberta", "camembert", "mpnet", "distilbert"}
_GATED = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "olmo", "olmo2", "smollm3"}
_UNGATED = {"gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "phi"}


def dimensions_of(config: Any) -> Dimensions:
    """The dimensions that a configuration gives.

    Args:
        config: of a built-in architecture, or of a relative of BERT, Llama or GPT.

    Raises:
        ModelError: for any other family.
    """
    known = family_of(config)
    own = known in BUILT_IN
    if not own and known not in _ENCODERS | _GATED | _UNGATED:
        names = sorted({*BUILT_IN} | _ENCODERS | _GATED | _UNGATED)
        raise ModelError(f"operations of a model of type {known!r} are not known; known: {', '.join(names)}")
    width: int = config.hidden_size
    common: dict[str, Any] = {
        "causal": known not in _ENCODERS,
        "layers": config.num_hidden_layers,
        "width": width,
        "mlp_width": config.mlp_width() if own else _inner(config, width),
        "gated": own or known in _GATED,
        "vocabulary": config.vocab_size,
        "own": own,
    }
    if known == "gla":
        return Dimensions(
            family="gla",
            heads=config.num_heads,
            kv_heads=config.num_kv_heads or config.num_heads,
            keys=config.key_width,
            values=config.value_width,
            convolution=config.conv_size if config.use_short_conv else 0,
            output_gate=config.use_output_gate,
            **common,
        )
    if known == "matmul-free":
        common |= {"heads": 1, "kv_heads": 1, "keys": width, "values": width, "output_gate": True}
        return Dimensions(family="matmul-free", **common)
    heads = config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or width // heads
    window = getattr(config, "window_size" if own else "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False or not isinstance(window, int):
        window = None
    if getattr(config, "word_embed_proj_dim", width) != width:
        raise ModelError(
            f"operations of a {known!r} whose embedding is not as wide as its layers are not known"
        )
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    return Dimensions(
        family="attention",
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        keys=heads * head_width,
        values=heads * head_width,
        window=window,
        windowed=0 if window is None else kinds.count("sliding_attention"),
        positions=None if own else _positions(config),
        **common,
    )


def _positions(config: Any) -> int | None:
    """The longest input; RoBERTa's relatives count positions from one after the pad token's id."""
    known: int | None = getattr(config, "max_position_embeddings", None)
    shifted = config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet")
    return known - (config.pad_token_id or 0) - 1 if known is not None and shifted else known


def _inner(config: Any, width: int) -> int:
    for name in ("intermediate_size", "n_inner", "ffn_dim", "hidden_dim"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    return 4 * width


def forward(
    dims: Dimensions,
    batch: int,
    queries: int,
    context: int,
    precision: str,
    *,
    logits: int = 1,
    compiled: bool = False,
) -> list[Operation]:
    """The work of one forward pass.

    Args:
        dims: of the model.
        batch: sequences.
        queries: new tokens of each: the prompt's in prefill, 1 in decoding.
        context: tokens of each that are seen in the end, the new ones included.
        precision: of weights, a key of :data:`WEIGHT_BYTES`.
        logits: positions of each sequence at which the vocabulary's logits are formed; 0 in a classifier.
        compiled: whether the machine has compiled decoding steps: one call per token for all layers.

    Returns:
        One operation per kind and place; sums over them are those of the pass.

    Raises:
        ModelError: for a precision that is not known, or fewer than one sequence or token.
    """
    if precision not in WEIGHT_BYTES:
        raise ModelError(f"unknown precision {precision!r}; known: {', '.join(WEIGHT_BYTES)}")
    if min(batch, queries) < 1 or context < queries or logits < 0:
        raise ModelError("a forward pass has at least one sequence of one token, and sees what it is given")
    operations = list(_operations(dims, batch, queries, context, precision, logits))
    if compiled and dims.own and queries == 1 < context and batch <= COMPILED_SEQUENCES:
        # One call for all layers, in which every product starts the kernels' threads.
        operations = [
            replace(one, launches=0.0 if one.kind == "elementwise" else one.launches, kernel="compiled")
            for one in operations
        ]
        operations.append(Operation("elementwise", 0.0, 0.0, 0.0, FIXED_KERNELS))
    return operations


def _operations(
    dims: Dimensions, batch: int, queries: int, context: int, precision: str, logits: int
) -> Iterable[Operation]:
    tokens, layers = batch * queries, dims.layers
    size = ACTIVATION_BYTES[precision]
    kind: Kind = "ternary" if dims.family == "matmul-free" else "linear"

    def product(rows: int, wide: int, out: int, times: float) -> Operation:
        weights = wide * out * WEIGHT_BYTES[precision] * times
        moved = rows * (wide + out) * size * times
        return Operation(kind, 2.0 * rows * wide * out * times, weights, moved, times)

    for wide, out in _projections(dims):
        yield product(tokens, wide, out, layers)
    yield _mixing(dims, batch, queries, context, size)
    # Norms read and write the stream twice per layer, residuals read two and write one, activations likewise.
    moved = tokens * (10 * dims.width + (3 if dims.gated else 2) * dims.mlp_width) * size
    moved += tokens * 2 * (dims.keys + dims.values) * size
    products = len(_projections(dims)) + 1
    yield Operation("elementwise", 0.0, 0.0, moved * layers, (_kernels(dims) - products) * layers)
    yield Operation("elementwise", 0.0, 0.0, 2.0 * tokens * dims.width * size, FIXED_KERNELS)
    if logits and dims.causal:
        yield product(batch * logits, dims.width, dims.vocabulary, 1.0)


def _kernels(dims: Dimensions) -> int:
    """Kernels that one layer starts, as PyTorch's dispatcher counts them without views."""
    if dims.own:
        return {"attention": 25, "gla": 27, "matmul-free": 30}[dims.family]
    return 42 if dims.gated else 18


def _projections(dims: Dimensions) -> list[tuple[int, int]]:
    """Width and output width of the linear maps of one layer."""
    grouped = dims.kv_heads / dims.heads
    maps = [
        (dims.width, dims.keys),
        (dims.width, round(dims.keys * grouped)),
        (dims.width, round(dims.values * grouped)),
        (dims.values, dims.width),
    ]
    if dims.family == "gla":
        keys = round(dims.keys * grouped)
        maps += [(dims.width, GATE_LOW_RANK), (GATE_LOW_RANK, keys)]
        maps += [(dims.width, dims.values)] if dims.output_gate else []
    maps.append((dims.width, (2 if dims.gated else 1) * dims.mlp_width))
    maps.append((dims.mlp_width, dims.width))
    return maps


def _mixing(dims: Dimensions, batch: int, queries: int, context: int, size: float) -> Operation:
    """How tokens see each other, in all layers."""
    tokens, layers = batch * queries, dims.layers
    if dims.family == "matmul-free":
        moved = tokens * dims.width * 4 * size + 2 * batch * dims.width * STATE_BYTES
        return Operation("scan", 6.0 * tokens * dims.width * layers, 0.0, moved * layers, layers)
    if dims.family == "gla":
        chunks = -(-queries // GLA_CHUNK)
        chunk = -(-queries // chunks)
        head = dims.keys * dims.values / dims.heads
        # One token, or more than one chunk, meets the state.
        carried = 4.0 * head if chunks > 1 or context > queries else 0.0
        flops = tokens * (2.0 * chunk * (dims.keys + dims.values) + carried)
        moved = tokens * (3 * dims.keys + 2 * dims.values) * size + 2 * batch * head * STATE_BYTES
        return Operation("gla", flops * layers, 0.0, moved * layers, layers)
    seen = _seen(dims, context)
    flops = 2.0 * tokens * seen * (dims.keys + dims.values)
    cached = batch * seen * (dims.keys + dims.values) * dims.kv_heads / dims.heads * size
    moved = cached + tokens * (dims.keys + dims.values) * size
    return Operation("attention", flops * layers, 0.0, moved * layers, layers)


def _seen(dims: Dimensions, context: int, kept: int = 0) -> float:
    """Keys that a query sees: the mean over layers, of those with a window without ``kept`` of it."""
    if dims.window is None:
        return context
    outside = max(0, context - max(1, dims.window - kept))
    return context - outside * dims.windowed / dims.layers


def state_bytes(dims: Dimensions, batch: int, context: int, precision: str) -> float:
    """Bytes of what is kept between two tokens: KV cache, or recurrent state; 0 for an encoder.

    Args:
        dims: of the model.
        batch: sequences.
        context: tokens read.
        precision: a key of :data:`ACTIVATION_BYTES`.
    """
    if not dims.causal:
        return 0.0
    if dims.family == "matmul-free":
        return batch * dims.layers * dims.width * STATE_BYTES
    size = ACTIVATION_BYTES[precision]
    grouped = dims.kv_heads / dims.heads
    if dims.family == "gla":
        convolved = dims.convolution * (dims.keys + grouped * (dims.keys + dims.values)) * size
        return batch * dims.layers * (dims.keys * dims.values / dims.heads * STATE_BYTES + convolved)
    seen = _seen(dims, context, kept=1)  # the next token brings the last of its window itself
    return batch * dims.layers * seen * grouped * (dims.keys + dims.values) * size


def weight_bytes(config: Any, precision: str, *, classifier: bool = False) -> int:
    """Bytes of the weights that a configuration makes, exactly, without making them.

    Args:
        config: of a model of any kind.
        precision: a key of :data:`WEIGHT_BYTES`, but for ``int8``, whose packing differs by library.
        classifier: with a head of two classes instead of the vocabulary's.

    Raises:
        ModelError: for a precision that the model cannot take.
    """
    import copy

    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification

    from trilemma.models.description import describe, is_ternary

    config = copy.deepcopy(config)
    if precision == "packed":
        if not is_ternary(config):
            raise ModelError("only MatMul-Free LM has ternary weights that can be packed")
        config.packed, precision = True, "float32"
    if precision not in ("float32", "bfloat16", "float16"):
        raise ModelError(f"weights in {precision} differ in size by library; choose another precision")
    made_by = AutoModelForCausalLM if dimensions_of(config).causal else AutoModelForMaskedLM
    with torch.device("meta"):
        model = (AutoModelForSequenceClassification if classifier else made_by).from_config(
            config, dtype=getattr(torch, precision)
        )
    return int(describe(model).weight_bytes)
