"""The single-token steps of models with dense weights: Transformer++ and gated linear attention."""

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from transformers.cache_utils import Cache

from trilemma.models.blocks import Block, Linear
from trilemma.models.cache import RecurrentCache
from trilemma.models.decoding import SingleTokenStep
from trilemma.models.decoding.plain_layers import (
    ChangedLayerError,
    child,
    mlp_weights,
    norm_weight,
    parameter,
    weight,
)
from trilemma.models.key_value_cache import PreallocatedLayer
from trilemma.ops.decoding import dense_step
from trilemma.ops.decoding.dense_step import Layer


class DenseStep(SingleTokenStep):
    """A step on plain layers; the modules run where a layer is not plain, or has hooks.

    Args:
        mixer: class of the token mixers.
    """

    def __init__(self, mixer: type[nn.Module]) -> None:
        self._mixer = mixer

    def __call__(self, model: Any, hidden: Tensor, context: tuple[Any, ...], past: Cache) -> Tensor | None:
        """Run the blocks where they are plain."""
        # Profilers, for one, set hooks on all modules at once.
        if not dense_step.serves(hidden) or _has_any_global_hook():  # type: ignore[no-untyped-call]
            return None
        try:
            return self._run(model, hidden, context, past)
        except ChangedLayerError:
            return None

    @abstractmethod
    def _run(self, model: Any, hidden: Tensor, context: tuple[Any, ...], past: Cache) -> Tensor | None:
        """Run the blocks; raises ChangedLayerError where one is not plain."""


class TransformerStep(DenseStep):
    """:func:`trilemma.ops.decoding.dense_step.transformer_step`; the token joins the cache."""

    def kernel(self, model: Any) -> str:
        """The path, for a model without options that the compiled step does not know."""
        config = model.config
        options = config.qk_norm or config.qkv_bias or config.window_size is not None
        return "" if options else dense_step.kernel(model.device, model.dtype)

    def _run(self, model: Any, hidden: Tensor, context: tuple[Any, ...], past: Cache) -> Tensor | None:
        layers = self._layers(model, past)
        cos, sin, mask, _ = context
        seen, heads, eps = past.get_seq_length(), model.config.num_heads, model.config.norm_eps
        out = dense_step.transformer_step(hidden, layers, seen, heads, (cos, sin), mask, eps)
        if out is not None:
            for cache in past.layers:
                cache.token_placed()
        return out

    def _layers(self, model: Any, past: Cache) -> list[Layer]:
        config, caches, seen = model.config, past.layers, past.get_seq_length()
        if len(caches) != len(model.layers):
            raise ChangedLayerError
        if any(type(cache) is not PreallocatedLayer or cache.get_seq_length() != seen for cache in caches):
            raise ChangedLayerError
        eps, heads, kv_heads = config.norm_eps, config.num_heads, config.num_kv_heads or config.num_heads
        layers: list[Layer] = []
        for index, cache in enumerate(caches):
            block = child(model.layers, str(index), Block)
            mixer = child(block, "attn", self._mixer)
            if mixer.qk_norm or (mixer.layer, mixer.heads, mixer.kv_heads) != (index, heads, kv_heads):
                raise ChangedLayerError
            own = {name: weight(mixer, f"{name}_proj") for name in ("q", "k", "v", "o")}
            own["norm"] = norm_weight(block, "attn_norm", eps)
            keys, values = cache.place_for_token()
            layers.append({**own, **mlp_weights(block, eps), "keys": keys, "values": values})
        return layers


class GLAStep(DenseStep):
    """:func:`trilemma.ops.decoding.dense_step.gla_model_step`; states are updated in place.

    Args:
        mixer: class of the token mixers.
        gate_divisor: the log decay is the log sigmoid of the gate over this.
    """

    def __init__(self, mixer: type[nn.Module], gate_divisor: float) -> None:
        super().__init__(mixer)
        self._gate_divisor = gate_divisor

    def kernel(self, model: Any) -> str:
        """The path, for a model without options that the compiled step does not know."""
        first = model.layers[0].attn if len(model.layers) else None
        known = type(first) is self._mixer and _is_published(first)
        return dense_step.kernel(model.device, model.dtype) if known else ""

    def _run(self, model: Any, hidden: Tensor, context: tuple[Any, ...], past: Cache) -> Tensor | None:
        if not isinstance(past, RecurrentCache) or context[0] is not None:
            return None
        layers = self._layers(model, past)
        return dense_step.gla_model_step(hidden, layers, self._gate_divisor, model.config.norm_eps)

    def _layers(self, model: Any, past: RecurrentCache) -> list[Layer]:
        eps, heads = model.config.norm_eps, model.config.num_heads
        if len(past.layers) != len(model.layers):
            raise ChangedLayerError
        layers: list[Layer] = []
        for index, state in enumerate(past.layers):
            block = child(model.layers, str(index), Block)
            mixer = child(block, "attn", self._mixer)
            gate = child(mixer, "gk_proj", nn.Sequential)
            if (mixer.layer, mixer.heads, len(gate)) != (index, heads, 2) or not _is_published(mixer):
                raise ChangedLayerError
            if state.recurrent is None:
                raise ChangedLayerError
            own = {name: weight(mixer, f"{name}_proj") for name in ("q", "k", "v", "o")}
            own |= {"out_gate": weight(mixer, "g_proj"), "gate_down": weight(gate, "0")}
            gate_up = child(gate, "1", Linear)
            own |= {"gate_up": parameter(gate_up, "weight"), "gate_bias": parameter(gate_up, "bias")}
            own["norm"] = norm_weight(block, "attn_norm", eps)
            own["out_norm"] = norm_weight(mixer, mixer.norm_name, eps)
            layers.append({**own, **mlp_weights(block, eps), "state": state.recurrent})
        return layers


def _is_published(mixer: Any) -> bool:
    """Whether this is the published layer without any of its options: what the compiled step computes."""
    options = mixer.use_short_conv, mixer.feature_map is not None, mixer.clamp_min is not None
    return mixer.use_output_gate and mixer.kv_heads == mixer.heads and not any(options)
