"""Transformer++: Llama's recipe (RMSNorm, rotary positions, SwiGLU), published names."""

from typing import cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache

from trilemma.errors import ModelError
from trilemma.models.backbone import Backbone, CausalLanguageModel, LanguageModel
from trilemma.models.blocks import Block, GatedMLP, Linear, RMSNorm
from trilemma.models.classification import SequenceClassifier
from trilemma.models.configuration import LanguageModelConfig
from trilemma.models.decoding.dense import TransformerStep
from trilemma.models.key_value_cache import preallocate
from trilemma.models.padding import checked_mask, pads_only_right
from trilemma.ops.attention import attention
from trilemma.ops.rotary import rotary_angles, rotate

QK_NORM_EPS = 1e-5  # a constant of the published code, not norm_eps


class TransformerConfig(LanguageModelConfig):
    """Configuration of ``model_type`` "transformer".

    Attributes:
        num_heads: query heads.
        num_kv_heads: key and value heads, each for ``num_heads / num_kv_heads`` query heads; null: as many.
        qkv_bias: bias on query, key and value projections.
        qk_norm: RMSNorm on every query and key head.
        window_size: how many keys a query sees, itself included; null means all.
        rope_theta: base of the rotary frequencies.
        norm_eps: epsilon of the norms, ``rms_norm_eps`` in older files; by default 1e-6.
        fuse_norm: kernel choice of the original implementation; no effect, like the next two.
        fuse_swiglu: no effect.
        fuse_cross_entropy: no effect.
    """

    model_type = "transformer"
    family = "transformer-pp"
    attribute_map = {  # noqa: RUF012
        "num_attention_heads": "num_heads",
        "num_key_value_heads": "num_kv_heads",
        "rms_norm_eps": "norm_eps",
    }

    num_heads: int = 32
    num_kv_heads: int | None = None
    qkv_bias: bool = False
    qk_norm: bool = False
    window_size: int | None = None
    rope_theta: float = 10000.0
    norm_eps: float = None  # type: ignore[assignment]  # settled in __post_init__
    fuse_norm: bool = True
    fuse_swiglu: bool = True
    fuse_cross_entropy: bool = True

    @property
    def sliding_window(self) -> int | None:
        """The window of Hugging Face's cache, which keeps at least one past token: a window of 1 masks it."""
        return None if self.window_size is None else max(2, self.window_size)

    @sliding_window.setter
    def sliding_window(self, value: int | None) -> None:
        self.window_size = value

    def check(self) -> None:
        """Refuse what is out of range or not supported."""
        super().check()
        self.require_positive("rope_theta")
        self.require_integer("num_heads", self.hidden_size)
        self.require_divisor("num_heads", "hidden_size")
        if (self.hidden_size // self.num_heads) % 2:
            raise self.unsupported(
                "num_heads", f"such that hidden_size {self.hidden_size} / num_heads is even"
            )
        if self.num_kv_heads is not None:
            self.require_integer("num_kv_heads", self.num_heads)
            self.require_divisor("num_kv_heads", "num_heads")
        if self.window_size is not None:
            self.require_integer("window_size", 1 << 30)


class RotaryTable:
    """Tables of :func:`trilemma.ops.rotary.rotary_angles`, extended for longer texts.

    Neither a module nor a buffer, so that nothing of it is saved, moved or initialised.

    Args:
        head_size: channels of a head, even.
        theta: base of the wavelengths.
    """

    def __init__(self, head_size: int, theta: float) -> None:
        self.head_size = head_size
        self.theta = theta
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def between(self, start: int, stop: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Float32 cosines and sines [1, stop - start, d/2] of consecutive positions."""
        if device not in self._tables or self._tables[device][0].shape[1] < stop:
            length = max(256, 1 << (stop - 1).bit_length())
            with torch.inference_mode(False):  # a table made in inference mode could not be used in training
                self._tables[device] = self.at(torch.arange(length, device=device)[None])
        cos, sin = self._tables[device]
        return cos[:, start:stop], sin[:, start:stop]

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Float32 cosines and sines [B, T, d/2] at ``positions`` [B, T]."""
        return rotary_angles(positions, self.head_size, self.theta)


class Attention(nn.Module):
    """Causal softmax attention with rotary positions and grouped key-value heads."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        D = config.hidden_size
        self.layer = layer
        self.heads = config.num_heads
        self.kv_heads = config.num_kv_heads or config.num_heads
        self.head_size = D // self.heads
        kv_size = self.kv_heads * self.head_size
        self.q_proj = Linear(D, D, bias=config.qkv_bias)
        self.k_proj = Linear(D, kv_size, bias=config.qkv_bias)
        self.v_proj = Linear(D, kv_size, bias=config.qkv_bias)
        self.qk_norm = config.qk_norm
        if config.qk_norm:
            self.q_norm = RMSNorm(self.head_size, QK_NORM_EPS)
            self.k_norm = RMSNorm(self.head_size, QK_NORM_EPS)
        self.o_proj = Linear(D, D, bias=False)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None,
        causal: bool,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        """[B, T, D] to [B, T, D].

        Args:
            x: normed states.
            cos: [B or 1, T, d/2].
            sin: [B or 1, T, d/2].
            mask: [B or 1, 1, T, S], True where a query sees a key; None for no mask.
            causal: plain causal order over equal numbers of queries and keys, instead of a mask.
            past_key_values: cache, extended by this call.
        """
        B, T, D = x.shape
        q = self.q_proj(x).view(B, T, self.heads, self.head_size)
        k = self.k_proj(x).view(B, T, self.kv_heads, self.head_size)
        v = self.v_proj(x).view(B, T, self.kv_heads, self.head_size).transpose(1, 2)
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q = rotate(q, cos, sin).transpose(1, 2)
        k = rotate(k, cos, sin).transpose(1, 2)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer)
        if _backward_is_faster_in_float32(q):
            with torch.autocast("cpu", enabled=False):  # which would make them bfloat16 again
                o = attention(q.float(), k.float(), v.float(), mask, causal).to(v.dtype)
        else:
            o = attention(q, k, v, mask, causal)
        out: Tensor = self.o_proj(o.transpose(1, 2).reshape(B, T, D))
        return out


def _backward_is_faster_in_float32(q: Tensor) -> bool:
    """On CPU the backward pass of short bfloat16 attention takes up to 2.6 times that of float32.

    Measured on an AMD EPYC with AVX-512 bf16: 1.3 times at 128 tokens, no difference from 256 on.
    """
    if q.device.type != "cpu" or not torch.is_grad_enabled() or q.shape[-2] > _FLOAT32_BACKWARD_TOKENS:
        return False
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    return autocast or q.dtype is torch.bfloat16


_FLOAT32_BACKWARD_TOKENS = 256
"""From this many tokens on, bfloat16 attention is as fast to train on a CPU as float32."""


class TransformerPreTrainedModel(LanguageModel):
    """What the Transformer++ classes share."""

    config_class = TransformerConfig


class TransformerModel(TransformerPreTrainedModel, Backbone):
    """Transformer++ without a head."""

    step = TransformerStep(Attention)

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.rotary = RotaryTable(config.hidden_size // config.num_heads, config.rope_theta)
        self.post_init()

    @property
    def kernel(self) -> str:
        """Scaled dot-product attention as PyTorch dispatches it."""
        return "sdpa"

    def block(self, config: TransformerConfig, index: int) -> Block:
        """Attention and SwiGLU."""
        mlp = GatedMLP(config.hidden_size, config.mlp_width())
        return Block(config.hidden_size, config.norm_eps, Attention(config, index), mlp)

    def new_cache(self) -> Cache:
        """Keys and values of all tokens, or of the window."""
        return DynamicCache(config=self.config)

    def context(
        self, hidden: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None, past: Cache | None
    ) -> tuple[Tensor, Tensor, Tensor | None, bool]:
        """Rotary tables, mask and whether plain causal order suffices."""
        B, T = hidden.shape[:2]
        seen = 0 if past is None else past.get_seq_length()
        if past is not None and seen == 0:
            preallocate(past)
        tokens = None
        if attention_mask is not None:
            tokens = checked_mask(attention_mask, B, seen + T)
            if seen == 0 and T > 1 and pads_only_right(tokens):
                tokens = None  # causal order hides the pads from every token
        cos, sin = self._angles(hidden, tokens, position_ids, seen)
        mask, causal = self._mask(tokens, T, seen, past, hidden.device)
        return cos, sin, mask, causal

    def _angles(
        self,
        hidden: Tensor,
        tokens: Tensor | None,
        position_ids: Tensor | None,
        seen: int,
    ) -> tuple[Tensor, Tensor]:
        T = hidden.shape[1]
        if position_ids is None and tokens is None:
            return self.rotary.between(seen, seen + T, hidden.device)
        if position_ids is None:
            counted = cast(Tensor, tokens).cumsum(dim=-1) - 1
            position_ids = counted.clamp(min=0)[:, -T:]
        elif position_ids.dim() != 2 or position_ids.shape[-1] != T:
            raise ModelError(f"position_ids have shape {tuple(position_ids.shape)}; they must be [B, {T}]")
        return self.rotary.at(position_ids)

    def _mask(
        self, tokens: Tensor | None, T: int, seen: int, past: Cache | None, device: torch.device
    ) -> tuple[Tensor | None, bool]:
        window = self.config.window_size
        windowed = window is not None and seen + T > window
        if tokens is None and not windowed and (seen == 0 or T == 1):
            return None, T > 1
        length, offset = (T, 0) if past is None else past.get_mask_sizes(T, 0)
        query = torch.arange(seen, seen + T, device=device)[:, None]
        key = torch.arange(offset, offset + length, device=device)
        mask = key <= query
        if windowed:
            if tokens is not None and not pads_only_right(tokens.flip(1)):
                raise ModelError("a window_size counts pads after a token as tokens; pad on the left")
            mask &= key > query - window
        if tokens is None:
            return mask[None, None], False
        # a pad sees itself, since a row without any key would be 0 / 0
        visible = tokens[:, None, offset : offset + length] | (key == query)
        return (mask & visible)[:, None], False


class TransformerForCausalLM(TransformerPreTrainedModel, CausalLanguageModel):
    """Transformer++ language model."""

    backbone_class = TransformerModel


class TransformerForSequenceClassification(TransformerPreTrainedModel, SequenceClassifier):
    """Transformer++ classifier."""

    backbone_class = TransformerModel
