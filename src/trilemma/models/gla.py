"""Gated linear attention (GLA) Transformer (Yang et al. 2024, arXiv 2312.06635), published names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.cache_utils import Cache

from trilemma.models.backbone import Backbone, CausalLanguageModel, LanguageModel, RecurrentGeneration
from trilemma.models.blocks import Block, GatedMLP, Linear, RMSNorm
from trilemma.models.cache import RecurrentCache, RecurrentState
from trilemma.models.classification import SequenceClassifier
from trilemma.models.configuration import LanguageModelConfig
from trilemma.models.decoding.dense import GLAStep
from trilemma.models.padding import checked_mask, pads_only_right, reordered, tokens_first
from trilemma.ops import gla as gla_ops
from trilemma.ops.norms import gated_rms_norm
from trilemma.ops.short_conv import short_conv

# Constants of the published models that no configuration holds.
GATE_LOW_RANK = 16
GATE_LOGIT_NORMALIZER = 16
CONSTANTS = {
    "gate_low_rank_dim": GATE_LOW_RANK,
    "gate_logit_normalizer": GATE_LOGIT_NORMALIZER,
    "conv_bias": False,
}
"""Those constants by the original layer's names, which a configuration may repeat but not change."""

FEATURE_MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": F.elu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "identity": lambda x: x,
    "logsigmoid": F.logsigmoid,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "sqrelu": lambda x: F.relu(x).square(),
    "swish": F.silu,
    "tanh": torch.tanh,
}


class GLAConfig(LanguageModelConfig):
    """Configuration of ``model_type`` "gla".

    Attributes:
        num_heads: heads H.
        num_kv_heads: heads of keys, values and gates, each serving H / num_kv_heads query heads; null: H.
        expand_k: key width over ``hidden_size``.
        expand_v: value width over ``hidden_size``.
        feature_map: elementwise map on queries and keys, a name in :data:`FEATURE_MAPS` or null.
        clamp_min: lower bound of the log decay, or null.
        use_short_conv: causal depthwise convolution and silu on queries, keys and values.
        conv_size: width of that convolution.
        use_output_gate: multiply the normed output by ``silu(g_proj(x))``.
        fuse_norm: the output norm's weight is named ``g_norm_swish_gate`` (true) or ``g_norm``.
        norm_eps: epsilon of the norms, ``rms_norm_eps`` in older files; by default 1e-6.
        attn_mode: kernel choice of the original implementation; no effect, like the next two.
        fuse_swiglu: no effect.
        fuse_cross_entropy: no effect.
        use_gk: a decay for every key channel; must be true.
        use_gv: a decay for every value channel; must be false.
    """

    model_type = "gla"
    family = "gla"
    attribute_map = {  # noqa: RUF012
        "num_attention_heads": "num_heads",
        "num_key_value_heads": "num_kv_heads",
        "rms_norm_eps": "norm_eps",
    }

    num_heads: int = 4
    num_kv_heads: int | None = None
    expand_k: float = 0.5
    expand_v: float = 1.0
    feature_map: str | None = None
    clamp_min: float | None = None
    use_short_conv: bool = False
    conv_size: int = 4
    use_output_gate: bool = True
    fuse_norm: bool = True
    norm_eps: float = None  # type: ignore[assignment]  # settled in __post_init__
    attn_mode: str = "chunk"
    fuse_swiglu: bool = True
    fuse_cross_entropy: bool = True
    use_gk: bool = True
    use_gv: bool = False

    @property
    def key_width(self) -> int:
        """Width of all query heads together."""
        return round(self.hidden_size * self.expand_k)

    @property
    def value_width(self) -> int:
        """Width of all output heads together."""
        return round(self.hidden_size * self.expand_v)

    def check(self) -> None:
        """Refuse what is out of range or not supported."""
        super().check()
        self.require_value("use_gk", True)
        self.require_value("use_gv", False)
        self.require_integer("num_heads", self.hidden_size)
        if self.num_kv_heads is not None:
            self.require_integer("num_kv_heads", self.num_heads)
            self.require_divisor("num_kv_heads", "num_heads")
        for name, width in (("expand_k", "key_width"), ("expand_v", "value_width")):
            self.require_positive(name)
            if getattr(self, width) < 1 or getattr(self, width) % self.num_heads:
                raise self.unsupported(
                    name, f"such that hidden_size * {name} is a multiple of {self.num_heads} heads"
                )
        if self.feature_map is not None and str(self.feature_map) not in FEATURE_MAPS:
            raise self.unsupported("feature_map", f"null or one of {', '.join(FEATURE_MAPS)}")
        if self.use_short_conv:
            self.require_integer("conv_size", 1 << 10)
        for name, constant in CONSTANTS.items():
            if getattr(self, name, constant) != constant:
                raise self.unsupported(name, repr(constant))
        clamp = self.clamp_min
        if clamp is not None and not (isinstance(clamp, int | float) and clamp <= 0):
            raise self.unsupported("clamp_min", "null or a number of at most 0")


class ShortConvolution(nn.Conv1d):
    """Depthwise causal convolution over time, then silu; no bias.

    Args:
        channels: number of channels.
        size: number of inputs that an output depends on, the current one included.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(channels, channels, size, groups=channels, bias=False)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        state: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Convolve ``x`` as the continuation of what ``state`` has seen.

        Args:
            x: [B, T, channels]; in every row the tokens stand before the pads.
            state: the last ``size`` inputs [B, channels, size], newest last; None for none.
            lengths: number of tokens of every row [B]; None means T.

        Returns:
            The output [B, T, channels], and the state after the last token of every row.
        """
        y, last = short_conv(x, self.weight, state)
        if lengths is None:
            return y, last
        before = x.new_zeros(last.shape) if state is None else state
        inputs = torch.cat((before, x.mT), dim=-1)
        newest = lengths[:, None] + torch.arange(last.shape[-1], device=x.device)
        return y, inputs.gather(-1, newest[:, None].expand(-1, x.shape[-1], -1))


@dataclass(frozen=True)
class Padding:
    """Where a batch has pads, as the mixers need it.

    Attributes:
        tokens: [B, T, 1, 1], True at tokens.
        lengths: tokens of every row, [B].
        right: whether all pads come after the tokens, so that lengths alone describe them.
        order: [B, T], moves the tokens of a row before its pads; None where they stand there already.
        inverse: undoes ``order``.
    """

    tokens: Tensor
    lengths: Tensor
    right: bool
    order: Tensor | None = None
    inverse: Tensor | None = None


class GatedLinearAttention(nn.Module):
    """Linear attention whose state decays by a gate for every key channel."""

    def __init__(self, config: GLAConfig, layer: int) -> None:
        super().__init__()
        D, K, V = config.hidden_size, config.key_width, config.value_width
        self.layer = layer
        self.heads = config.num_heads
        self.kv_heads = config.num_kv_heads or config.num_heads
        groups = self.heads // self.kv_heads
        self.clamp_min = config.clamp_min
        self.feature_map = FEATURE_MAPS[config.feature_map] if config.feature_map else None
        self.q_proj = Linear(D, K, bias=False)
        self.k_proj = Linear(D, K // groups, bias=False)
        self.v_proj = Linear(D, V // groups, bias=False)
        self.use_short_conv = config.use_short_conv
        if config.use_short_conv:
            self.q_conv1d = ShortConvolution(K, config.conv_size)
            self.k_conv1d = ShortConvolution(K // groups, config.conv_size)
            self.v_conv1d = ShortConvolution(V // groups, config.conv_size)
        self.gk_proj = nn.Sequential(Linear(D, GATE_LOW_RANK, bias=False), Linear(GATE_LOW_RANK, K // groups))
        self.use_output_gate = config.use_output_gate
        if config.use_output_gate:
            self.g_proj = Linear(D, V, bias=False)
        norm = RMSNorm(V // self.heads, config.norm_eps)
        self.norm_name = "g_norm_swish_gate" if config.use_output_gate and config.fuse_norm else "g_norm"
        self.add_module(self.norm_name, norm)
        self.o_proj = Linear(V, D, bias=False)

    def forward(
        self, x: Tensor, padding: Padding | None, past_key_values: RecurrentCache | None = None
    ) -> Tensor:
        """[B, T, D] to [B, T, D].

        Args:
            x: normed states.
            padding: where the pads are; a pad neither decays the state nor writes to it.
            past_key_values: cache, whose state of this layer is read and replaced.
        """
        if padding is not None and padding.order is not None:
            x = reordered(x, padding.order)
        state = RecurrentState() if past_key_values is None else past_key_values.layers[self.layer]
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.use_short_conv:
            lengths = None if padding is None else padding.lengths
            q, state.q = self.q_conv1d(q, state.q, lengths)
            k, state.k = self.k_conv1d(k, state.k, lengths)
            v, state.v = self.v_conv1d(v, state.v, lengths)
        gate = self.gk_proj(x)
        # Half precision would round decays near 1.
        gate = gate.to(torch.promote_types(gate.dtype, torch.float32))
        g = F.logsigmoid(gate) / GATE_LOGIT_NORMALIZER
        if self.clamp_min is not None:
            g = g.clamp(min=self.clamp_min)
        q = self._split(q, self.heads)
        k, v, g = (self._split(tensor, self.kv_heads) for tensor in (k, v, g))
        if self.feature_map is not None:
            q, k = self.feature_map(q), self.feature_map(k)
        lengths = padding.lengths if padding is not None and padding.right else None
        if padding is not None and not padding.right:
            k = k.masked_fill(~padding.tokens, 0)
            g = g.masked_fill(~padding.tokens, 0)
        if self.kv_heads != self.heads:
            k, v, g = (tensor.repeat_interleave(self.heads // self.kv_heads, dim=2) for tensor in (k, v, g))
        if x.shape[1] == 1 and state.recurrent is not None and not torch.is_grad_enabled():
            o, state.recurrent = gla_ops.gla_step(q, k, v, g, state.recurrent)
        else:
            keep_state = past_key_values is not None
            o, state.recurrent = gla_ops.gla(
                q, k, v, g, state.recurrent, output_final_state=keep_state, lengths=lengths
            )
        norm = cast(RMSNorm, self.get_submodule(self.norm_name))
        if self.use_output_gate:
            o = gated_rms_norm(o, self._split(self.g_proj(x), self.heads), norm.weight, norm.eps)
        else:
            o = norm(o)
        out: Tensor = self.o_proj(o.flatten(2))
        if padding is not None and padding.inverse is not None:
            out = reordered(out, padding.inverse)
        return out

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.view(*x.shape[:-1], heads, -1)


class GLAPreTrainedModel(LanguageModel):
    """What the GLA classes share."""

    config_class = GLAConfig


class GLAModel(GLAPreTrainedModel, Backbone):
    """GLA Transformer without a head."""

    step = GLAStep(GatedLinearAttention, GATE_LOGIT_NORMALIZER)

    def __init__(self, config: GLAConfig) -> None:
        super().__init__(config)
        self.post_init()

    @property
    def kernel(self) -> str:
        """Path of the gated linear attention on this model's device."""
        return gla_ops.kernel(self.device)

    def block(self, config: GLAConfig, index: int) -> Block:
        """Gated linear attention and SwiGLU."""
        mlp = GatedMLP(config.hidden_size, config.mlp_width())
        return Block(config.hidden_size, config.norm_eps, GatedLinearAttention(config, index), mlp)

    def context(
        self, hidden: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None, past: Cache | None
    ) -> tuple[Padding | None]:
        """Where the pads are; None where they need no care."""
        B, T = hidden.shape[:2]
        if attention_mask is None:
            return (None,)
        seen = 0 if past is None else past.get_seq_length()
        tokens = checked_mask(attention_mask, B, seen + T)[:, seen:]
        if bool(tokens.all()):
            return (None,)
        right = pads_only_right(tokens)
        order = inverse = None
        if self.config.use_short_conv and T > 1 and not right:
            order = tokens_first(tokens)
            inverse = order.argsort(dim=-1)
            tokens = tokens.gather(1, order)
        # A single step is not given lengths: its key and gate are set to 0 instead.
        return (Padding(tokens[:, :, None, None], tokens.sum(dim=-1), right and T > 1, order, inverse),)


class GLAForCausalLM(RecurrentGeneration, GLAPreTrainedModel, CausalLanguageModel):
    """GLA language model."""

    backbone_class = GLAModel


class GLAForSequenceClassification(GLAPreTrainedModel, SequenceClassifier):
    """GLA classifier."""

    backbone_class = GLAModel
