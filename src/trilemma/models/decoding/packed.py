"""The single-token step of packed MatMul-Free models."""

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache

from trilemma.models.cache import RecurrentCache
from trilemma.models.decoding import SingleTokenStep
from trilemma.ops.decoding import matmul_free_step
from trilemma.ops.decoding.matmul_free_step import LayerWeights, MatMulFreeStep, PackedWeight


class PackedStep(SingleTokenStep):
    """:class:`trilemma.ops.decoding.matmul_free_step.MatMulFreeStep`, prepared at a model's first token."""

    def kernel(self, model: Any) -> str:
        """Nothing: the packed product, which the model names, decodes too."""
        return ""

    def __call__(self, model: Any, hidden: Tensor, context: tuple[Any, ...], past: Cache) -> Tensor | None:
        """Run the blocks; states are updated in place."""
        lower_bounds, pads = context
        if not (model.config.packed and isinstance(past, RecurrentCache) and matmul_free_step.serves(hidden)):
            return None
        if pads is not None and pads.any():
            return None
        if model.prepared_step is None:
            layers = [_layer_weights(block, lower_bounds) for block in model.layers]
            model.prepared_step = MatMulFreeStep(layers)
        out: Tensor = model.prepared_step(hidden, past.recurrent_states())
        return out


def _layer_weights(block: Any, lower_bounds: Tensor | None) -> LayerWeights:
    mixer, mlp = block.attn, block.mlp
    layers = (mixer.i_proj, mixer.f_proj, mixer.g_proj, mixer.o_proj, mlp.gate_proj, mlp.down_proj)
    return LayerWeights(
        norms={
            "attn_norm": block.attn_norm.weight,
            "g_norm": mixer.g_norm.weight,
            "mlp_norm": block.mlp_norm.weight,
            "lower_bound": None if lower_bounds is None or mixer.layer == 0 else lower_bounds[mixer.layer],
        },
        projections=tuple(
            PackedWeight(layer.packed, layer.scale.item(), layer.norm.weight, layer.norm.eps)
            for layer in layers
        ),
        eps=block.attn_norm.eps,
    )
