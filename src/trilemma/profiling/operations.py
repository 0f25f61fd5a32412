"""What a model's forward pass computes and moves, operation by operation, from its configuration alone.

The counts are the usual ones (Yuan et al. 2024, arXiv 2402.16363, section 2): a product of [m, k] and [k, n]
takes 2 m k n FLOPs and moves the weight, its input and its output once; attention of q queries over t keys
takes 4 q t d a head; everything else moves its tensors. Roofline shares and forecasts are formed from them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from trilemma.errors import ModelError

Kind = Literal["linear", "ternary", "attention", "gla", "scan", "elementwise"]

Kernel = Literal["torch", "compiled"]
"""Whose code a product of matrices runs: PyTorch's, or ours where few tokens meet a weight."""

WEIGHT_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0, "packed": 0.25}
"""Bytes a weight of the linear layers by precision; ``packed`` holds ternary weights."""

ACTIVATION_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 4.0, "packed": 4.0}
"""Bytes an activation by precision."""

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
class Shape:
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
        gated: whether that has a gate, hence three matrices instead of two.
        vocabulary: rows of the embedding.
        window: keys that a query of some layers sees at most, or None.
        windowed: layers of which that holds.
        convolution: width of the short convolutions, 0 for none.
        output_gate: whether the mixed tokens are gated by a projection of the input.
        positions: the longest input, or None.
        own: whether it is an architecture of ours, which has compiled decoding steps on processors.
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
        """All that it moves."""
        return self.weight_bytes + self.other_bytes


_ENCODERS = {"bert", "roberta", "electra", "xlm-roberta", "camembert", "deberta", "mpnet", "distilbert"}
_GATED = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "olmo", "olmo2", "smollm3"}
_UNGATED = {"gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "phi"}


def shape_of(config: Any) -> Shape:
    """The dimensions that a configuration gives.

    Args:
        config: of a model of ours, or of a Transformer of Hugging Face's: BERT's relatives, Llama's, GPT's.

    Raises:
        ModelError: for any other family.
    """
    known = config.model_type
    if known == "gla":
        return _gla(config)
    if known == "hgrn_bit":
        return _matmul_free(config)
    if known != "transformer" and known not in _ENCODERS | _GATED | _UNGATED:
        names = sorted({"transformer", "gla", "hgrn_bit"} | _ENCODERS | _GATED | _UNGATED)
        raise ModelError(f"operations of a model of type {known!r} are not known; known: {', '.join(names)}")
    width, heads = config.hidden_size, config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or width // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    own = known == "transformer"
    inner = config.mlp_width() if own else _inner(config, width)
    causal = own or known not in _ENCODERS
    window = getattr(config, "window_size", None) if own else getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False or not isinstance(window, int):
        window = None
    if getattr(config, "word_embed_proj_dim", width) != width:
        raise ModelError(
            f"operations of a {known!r} whose embedding is not as wide as its layers are not known"
        )
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    return Shape(
        family="attention",
        causal=causal,
        layers=config.num_hidden_layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        keys=heads * head_width,
        values=heads * head_width,
        mlp_width=inner,
        gated=own or known in _GATED,
        vocabulary=config.vocab_size,
        window=window,
        windowed=0 if window is None else kinds.count("sliding_attention"),
        positions=None if own else _positions(config),
        own=own,
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


def _gla(config: Any) -> Shape:
    return Shape(
        family="gla",
        causal=True,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_heads,
        kv_heads=config.num_kv_heads or config.num_heads,
        keys=config.key_width,
        values=config.value_width,
        mlp_width=config.mlp_width(),
        gated=True,
        vocabulary=config.vocab_size,
        convolution=config.conv_size if config.use_short_conv else 0,
        output_gate=config.use_output_gate,
        own=True,
    )


def _matmul_free(config: Any) -> Shape:
    width = config.hidden_size
    return Shape(
        family="matmul-free",
        causal=True,
        layers=config.num_hidden_layers,
        width=width,
        heads=1,
        kv_heads=1,
        keys=width,
        values=width,
        mlp_width=config.mlp_width(),
        gated=True,
        vocabulary=config.vocab_size,
        output_gate=True,
        own=True,
    )


def forward(
    shape: Shape,
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
        shape: of the model.
        batch: sequences.
        queries: new tokens of each: the prompt's in prefill, 1 in decoding.
        context: tokens of each that are seen in the end, the new ones included.
        precision: of weights, a key of :data:`WEIGHT_BYTES`.
        logits: positions of each sequence at which the vocabulary's logits are formed; 0 in a classifier.
        compiled: whether the machine has our compiled decoding steps: one call a token for all layers.

    Returns:
        One operation a kind and place; sums over them are those of the pass.

    Raises:
        ModelError: for a precision that is not known, or fewer than one sequence or token.
    """
    if precision not in WEIGHT_BYTES:
        raise ModelError(f"unknown precision {precision!r}; known: {', '.join(WEIGHT_BYTES)}")
    if min(batch, queries) < 1 or context < queries or logits < 0:
        raise ModelError("a forward pass has at least one sequence of one token, and sees what it is given")
    operations = list(_operations(shape, batch, queries, context, precision, logits))
    if compiled and shape.own and queries == 1 < context and batch <= COMPILED_SEQUENCES:
        # One call for all layers, in which every product is a start of our own threads.
        operations = [
            replace(one, launches=0.0 if one.kind == "elementwise" else one.launches, kernel="compiled")
            for one in operations
        ]
        operations.append(Operation("elementwise", 0.0, 0.0, 0.0, FIXED_KERNELS))
    return operations


def _operations(
    shape: Shape, batch: int, queries: int, context: int, precision: str, logits: int
) -> Iterable[Operation]:
    tokens, layers = batch * queries, shape.layers
    size = ACTIVATION_BYTES[precision]
    kind: Kind = "ternary" if shape.family == "matmul-free" else "linear"

    def product(rows: int, wide: int, out: int, times: float) -> Operation:
        weights = wide * out * WEIGHT_BYTES[precision] * times
        moved = rows * (wide + out) * size * times
        return Operation(kind, 2.0 * rows * wide * out * times, weights, moved, times)

    for wide, out in _projections(shape):
        yield product(tokens, wide, out, layers)
    yield _mixing(shape, batch, queries, context, size)
    # Norms read and write the stream twice a layer, residuals read two and write one, activations likewise.
    moved = tokens * (10 * shape.width + (3 if shape.gated else 2) * shape.mlp_width) * size
    moved += tokens * 2 * (shape.keys + shape.values) * size
    products = len(_projections(shape)) + 1
    yield Operation("elementwise", 0.0, 0.0, moved * layers, (_kernels(shape) - products) * layers)
    yield Operation("elementwise", 0.0, 0.0, 2.0 * tokens * shape.width * size, FIXED_KERNELS)
    if logits and shape.causal:
        yield product(batch * logits, shape.width, shape.vocabulary, 1.0)


def _kernels(shape: Shape) -> int:
    """Kernels that one layer starts, as PyTorch's dispatcher counts them without views."""
    if shape.own:
        return {"attention": 25, "gla": 27, "matmul-free": 30}[shape.family]
    return 42 if shape.gated else 18


def _projections(shape: Shape) -> list[tuple[int, int]]:
    """Width and output width of the linear maps of one layer."""
    grouped = shape.kv_heads / shape.heads
    maps = [
        (shape.width, shape.keys),
        (shape.width, round(shape.keys * grouped)),
        (shape.width, round(shape.values * grouped)),
        (shape.values, shape.width),
    ]
    if shape.family == "gla":
        keys = round(shape.keys * grouped)
        maps += [(shape.width, GATE_LOW_RANK), (GATE_LOW_RANK, keys)]
        maps += [(shape.width, shape.values)] if shape.output_gate else []
    maps.append((shape.width, (2 if shape.gated else 1) * shape.mlp_width))
    maps.append((shape.mlp_width, shape.width))
    return maps


def _mixing(shape: Shape, batch: int, queries: int, context: int, size: float) -> Operation:
    """How tokens see each other, in all layers."""
    tokens, layers = batch * queries, shape.layers
    if shape.family == "matmul-free":
        moved = tokens * shape.width * 4 * size + 2 * batch * shape.width * STATE_BYTES
        return Operation("scan", 6.0 * tokens * shape.width * layers, 0.0, moved * layers, layers)
    if shape.family == "gla":
        chunks = -(-queries // GLA_CHUNK)
        chunk = -(-queries // chunks)
        head = shape.keys * shape.values / shape.heads
        # One token, or more than one chunk, meets the state.
        carried = 4.0 * head if chunks > 1 or context > queries else 0.0
        flops = tokens * (2.0 * chunk * (shape.keys + shape.values) + carried)
        moved = tokens * (3 * shape.keys + 2 * shape.values) * size + 2 * batch * head * STATE_BYTES
        return Operation("gla", flops * layers, 0.0, moved * layers, layers)
    seen = _seen(shape, context)
    flops = 2.0 * tokens * seen * (shape.keys + shape.values)
    cached = batch * seen * (shape.keys + shape.values) * shape.kv_heads / shape.heads * size
    moved = cached + tokens * (shape.keys + shape.values) * size
    return Operation("attention", flops * layers, 0.0, moved * layers, layers)


def _seen(shape: Shape, context: int) -> float:
    """Keys that a query sees, and of which the cache keeps keys and values: the mean over layers."""
    if shape.window is None:
        return context
    outside = max(0, context - shape.window)
    return context - outside * shape.windowed / shape.layers


def state_bytes(shape: Shape, batch: int, context: int, precision: str) -> float:
    """Bytes of what is kept between two tokens: KV cache, or recurrent state; 0 for an encoder.

    Args:
        shape: of the model.
        batch: sequences.
        context: tokens read.
        precision: a key of :data:`ACTIVATION_BYTES`.
    """
    if not shape.causal:
        return 0.0
    if shape.family == "matmul-free":
        return batch * shape.layers * shape.width * STATE_BYTES
    size = ACTIVATION_BYTES[precision]
    grouped = shape.kv_heads / shape.heads
    if shape.family == "gla":
        convolved = shape.convolution * (shape.keys + grouped * (shape.keys + shape.values)) * size
        return batch * shape.layers * (shape.keys * shape.values / shape.heads * STATE_BYTES + convolved)
    seen = _seen(shape, context)
    return batch * shape.layers * seen * grouped * (shape.keys + shape.values) * size


def weight_bytes(config: Any, precision: str, *, classifier: bool = False) -> int:
    """Bytes of the weights that a configuration makes, exactly, without making them.

    Args:
        config: of a model; of ours or Hugging Face's.
        precision: a key of :data:`WEIGHT_BYTES`, but for ``int8``, whose packing differs by library.
        classifier: with a head of two classes instead of the vocabulary's.

    Raises:
        ModelError: for a precision that the model cannot take.
    """
    import copy

    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification

    from trilemma.models.loading import describe

    config = copy.deepcopy(config)
    if precision == "packed":
        if config.model_type != "hgrn_bit":
            raise ModelError("only MatMul-Free LM has ternary weights that can be packed")
        config.packed, precision = True, "float32"
    if precision not in ("float32", "bfloat16", "float16"):
        raise ModelError(f"weights in {precision} differ in size by library; choose another precision")
    made_by = AutoModelForCausalLM if shape_of(config).causal else AutoModelForMaskedLM
    with torch.device("meta"):
        model = (AutoModelForSequenceClassification if classifier else made_by).from_config(
            config, dtype=getattr(torch, precision)
        )
    return int(describe(model).weight_bytes)
