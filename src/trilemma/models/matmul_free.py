"""MatMul-Free language model (Zhu et al. 2024, arXiv 2406.02528), published names.

Every matrix, the head's too, acts as a ternary one (:mod:`trilemma.models.bit_linear`); tokens are mixed by
MLGRU, a gated elementwise recurrence. The order of norm and gate at its output is that of the published
weights, not of the paper's formula: the norm is on the gate's projection, the swish on the recurrent output.
"""

import math
from typing import Self

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.cache_utils import Cache

from trilemma.errors import ModelError
from trilemma.models.backbone import Backbone, CausalLanguageModel, LanguageModel, RecurrentGeneration
from trilemma.models.bit_linear import BitLinear
from trilemma.models.blocks import Block, RMSNorm
from trilemma.models.cache import RecurrentCache
from trilemma.models.classification import SequenceClassifier
from trilemma.models.configuration import LanguageModelConfig
from trilemma.models.decoding.packed import PackedStep
from trilemma.models.packed_ternary import PackedBitLinear
from trilemma.models.padding import checked_mask, pads_only_right
from trilemma.ops import linear_scan, ternary
from trilemma.ops.glu import joint_glu
from trilemma.ops.mlgru import mlgru
from trilemma.ops.norms import gated_rms_norm
from trilemma.ops.ternary import packed as packed_ternary

XAVIER_GAIN = 2**-2.5


class HGRNBitConfig(LanguageModelConfig):
    """Configuration of ``model_type`` "hgrn_bit".

    Attributes:
        num_heads: only a reshape in the original implementation; no effect.
        expand_ratio: must be 1.
        use_lower_bound: learned lower bounds of the forget gates that rise with depth.
        use_short_conv: must be false; the original implementation fails with true.
        conv_size: no effect, since there is no convolution.
        share_conv_kernel: no effect.
        rms_norm_eps: epsilon of the norms, ``norm_eps`` in some files; by default 1e-6.
        attn_mode: kernel choice of the original implementation; no effect.
        fuse_cross_entropy: no effect.
        packed: whether the weights are in their deployed form (:mod:`trilemma.models.packed_ternary`).
    """

    model_type = "hgrn_bit"
    family = "matmul-free"
    is_ternary = True
    attribute_map = {"norm_eps": "rms_norm_eps"}  # noqa: RUF012
    epsilon_field = "rms_norm_eps"
    epsilon_alias = "norm_eps"

    num_heads: int | None = 1
    expand_ratio: int | float | None = 1
    use_lower_bound: bool = True
    use_short_conv: bool = False
    conv_size: int = 4
    share_conv_kernel: bool = True
    rms_norm_eps: float | None = None
    attn_mode: str = "fused_recurrent"
    fuse_cross_entropy: bool = True
    packed: bool = False

    def check(self) -> None:
        """Refuse what is out of range or not supported."""
        super().check()
        self.require_value("use_short_conv", False)
        if self.expand_ratio is not None:
            self.require_value("expand_ratio", 1)
        if self.num_heads is not None:
            self.require_integer("num_heads", self.hidden_size)
            self.require_divisor("num_heads", "hidden_size")


def bit_linear(
    config: HGRNBitConfig,
    in_features: int,
    out_features: int,
    xavier_gain: float | None = None,
    std_scale: float = 1.0,
) -> nn.Module:
    """A ternary layer in the form that the configuration asks for; the other arguments initialise it."""
    if config.packed:
        return PackedBitLinear(in_features, out_features)
    return BitLinear(in_features, out_features, xavier_gain, std_scale)


class MLGRU(nn.Module):
    """``h_t = f_t * h_{t-1} + (1 - f_t) * silu(i_t)``, elementwise; a normed projection gates the output."""

    def __init__(self, config: HGRNBitConfig, layer: int) -> None:
        super().__init__()
        D = config.hidden_size
        self.layer = layer
        self.i_proj = bit_linear(config, D, D, xavier_gain=XAVIER_GAIN)
        self.f_proj = bit_linear(config, D, D, xavier_gain=XAVIER_GAIN)
        self.g_proj = bit_linear(config, D, D, xavier_gain=XAVIER_GAIN)
        self.g_norm = RMSNorm(D, config.norm_eps)
        self.o_proj = bit_linear(config, D, D, xavier_gain=XAVIER_GAIN)

    def forward(
        self,
        x: Tensor,
        lower_bounds: Tensor | None,
        pads: Tensor | None,
        past_key_values: RecurrentCache | None = None,
    ) -> Tensor:
        """[B, T, D] to [B, T, D].

        Args:
            x: normed states.
            lower_bounds: lower bounds of the forget gates of all layers, [L, D], or None.
            pads: [B, T, 1], True where the state must neither decay nor take input; None for nowhere.
            past_key_values: cache, whose state of this layer is read and replaced.
        """
        x = ternary.shared_input(x)
        state = None if past_key_values is None else past_key_values.layers[self.layer]
        h, final = mlgru(
            self.i_proj(x),
            self.f_proj(x),
            None if lower_bounds is None or self.layer == 0 else lower_bounds[self.layer],
            pads,
            initial_state=None if state is None else state.recurrent,
            output_final_state=state is not None,
        )
        if state is not None:
            state.recurrent = final
        y = gated_rms_norm(self.g_proj(x), h.to(x.dtype), self.g_norm.weight, self.g_norm.eps)
        out: Tensor = self.o_proj(y)
        return out


class TernaryGLU(nn.Module):
    """``down(silu(gate) * up)`` on ternary weights; gate and up are one tensor and share one scale."""

    def __init__(self, config: HGRNBitConfig) -> None:
        super().__init__()
        D, width = config.hidden_size, config.mlp_width()
        self.gate_proj = bit_linear(config, D, 2 * width)
        self.down_proj = bit_linear(config, width, D, std_scale=1 / math.sqrt(2 * config.num_hidden_layers))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        out: Tensor = self.down_proj(joint_glu(self.gate_proj(ternary.shared_input(x))))
        return out


class HGRNBitPreTrainedModel(LanguageModel):
    """What the MatMul-Free classes share."""

    config_class = HGRNBitConfig
    fused_gate_only = True

    def pack(self) -> Self:
        """Turn this model into its deployed form, in place: ternary weights at two bits each.

        It answers as before, needs a fraction of the memory, saves and loads like any model, and cannot be
        trained any more.
        """
        for module in list(self.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, BitLinear):
                    setattr(module, name, PackedBitLinear.of(child))
        self.requires_grad_(False)
        self.config.packed = True
        self.eval()
        return self

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, BitLinear) and module.xavier_gain is not None:
            init.xavier_uniform_(module.weight, gain=module.xavier_gain)
        elif isinstance(module, BitLinear):
            init.normal_(module.weight, std=self.config.initializer_range * module.std_scale)
        elif isinstance(module, HGRNBitModel):
            if module.config.use_lower_bound:
                init.zeros_(module.lower_bounds)
        else:
            super()._init_weights(module)


class HGRNBitModel(HGRNBitPreTrainedModel, Backbone):
    """MatMul-Free model without a head."""

    step = PackedStep()

    def __init__(self, config: HGRNBitConfig) -> None:
        super().__init__(config)
        if config.use_lower_bound:
            self.lower_bounds = nn.Parameter(torch.zeros(config.num_hidden_layers, config.hidden_size))
        self.post_init()

    @property
    def kernel(self) -> str:
        """Paths of the recurrence and of the ternary product on this model's device."""
        product = packed_ternary if self.config.packed else ternary
        return f"{linear_scan.kernel(self.device)}, {product.kernel(self.device)}"

    def block(self, config: HGRNBitConfig, index: int) -> Block:
        """MLGRU and ternary GLU."""
        return Block(config.hidden_size, config.norm_eps, MLGRU(config, index), TernaryGLU(config))

    def context(
        self, hidden: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None, past: Cache | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Lower bounds of all layers, and where the pads are."""
        bounds = None
        if self.config.use_lower_bound:
            shares = self.lower_bounds.float().softmax(dim=0)
            bounds = shares.cumsum(dim=0) - shares[0]
        if attention_mask is None:
            return bounds, None
        B, T = hidden.shape[:2]
        seen = 0 if past is None else past.get_seq_length()
        tokens = checked_mask(attention_mask, B, seen + T)[:, seen:]
        if past is None and pads_only_right(tokens):
            return bounds, None  # nothing that follows the last token is used
        return bounds, ~tokens.unsqueeze(-1)


class HGRNBitForCausalLM(RecurrentGeneration, HGRNBitPreTrainedModel, CausalLanguageModel):
    """MatMul-Free language model; its head is ternary too."""

    backbone_class = HGRNBitModel

    def new_head(self, config: HGRNBitConfig) -> nn.Module:
        """A ternary layer."""
        return bit_linear(config, config.hidden_size, config.vocab_size)

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replace the head; a plain linear layer (as resizing the vocabulary makes) becomes a ternary one."""
        if not isinstance(new_embeddings, BitLinear):
            if not isinstance(self.lm_head, BitLinear):
                raise ModelError("the head of a packed model cannot be replaced; do it before packing")
            head = BitLinear(new_embeddings.in_features, new_embeddings.out_features)
            head.weight = new_embeddings.weight
            head.norm = self.lm_head.norm
            new_embeddings = head
        self.lm_head = new_embeddings


class HGRNBitForSequenceClassification(HGRNBitPreTrainedModel, SequenceClassifier):
    """MatMul-Free classifier; its head is a dense one."""

    backbone_class = HGRNBitModel
