"""Low-rank adaptation by peft (Hu et al. 2021, arXiv 2106.09685), merged into plain weights at the end.

An adapter beside an ordinary linear layer adds ``scale * B A x``, and merging ``W + scale * B A`` computes
the same. Beside a ternary layer it would not: merged into the latent weight the update is rounded with it,
and the merged model computes another function than the trained one. There the adapter works on the latent
weight itself, ``BitLinear(x; W + scale * B A)``, rounded in training as it will be after merging; gradients
pass through the rounding as in pretraining.
"""

import re
import warnings
from typing import Any

import peft
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from trilemma.adapt.adaptation import Adaptation
from trilemma.adapt.settings import ADAPTATIONS, AdaptSettings, LoraSettings
from trilemma.errors import ModelError
from trilemma.models.bit_linear import BitLinear
from trilemma.ops.ternary import bit_linear


@ADAPTATIONS.plugin()
class LowRank(Adaptation):
    """Trains low-rank updates of the backbone's linear layers, and the head in full."""

    def prepare(self, model: PreTrainedModel, settings: AdaptSettings) -> nn.Module:
        """The model wrapped by peft: adapters and head train, the rest is frozen."""
        targets = _targets(model, settings.lora)
        self.notes = _frozen(model, targets)
        config = peft.LoraConfig(
            task_type=peft.TaskType.SEQ_CLS,
            r=settings.lora.rank,
            lora_alpha=settings.lora.alpha,
            lora_dropout=settings.lora.dropout,
            target_modules=targets,
            modules_to_save=_head(model),
        )
        if any(isinstance(module, BitLinear) for module in model.base_model.modules()):
            if settings.lora.dropout:
                raise ModelError(
                    "lora.dropout drops inputs of an adapter, which has none in a ternary layer; set it to 0"
                )
            # peft's documented way for custom layers
            config._register_custom_module({BitLinear: LatentLora})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to False")  # peft finds Conv1D itself
            # peft 0.21 asks for a property by the name it had before transformers 5.23
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            wrapped: nn.Module = peft.get_peft_model(model, config)
        return wrapped

    def finish(self, model: Any) -> PreTrainedModel:
        """The model with its adapters merged; computes the same function."""
        merged = model.merge_and_unload()
        assert isinstance(merged, PreTrainedModel)
        merged.requires_grad_(True)
        return merged


class LatentLora(LoraLinear):  # type: ignore[misc]
    """A ternary layer whose latent weight has a low-rank update; merging is inherited and exact."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """``BitLinear(x; W + scale * B A)``, ``[..., in]`` to ``[..., out]``."""
        base = self.get_base_layer()
        if self.disable_adapters or self.merged:
            plain: Tensor = base(x)
            return plain
        weight = base.weight
        for name in self.active_adapters:
            weight = weight + self.get_delta_weight(name)
        return bit_linear(x, weight, base.norm.weight, base.norm.eps)


def _head(model: PreTrainedModel) -> list[str]:
    """Names of the modules with weights beside the backbone."""
    children = ((name, child) for name, child in model.named_children() if child is not model.base_model)
    return [name for name, child in children if next(child.parameters(), None) is not None]


def _targets(model: PreTrainedModel, settings: LoraSettings) -> list[str]:
    """Full names of the linear layers in the backbone that get an adapter."""
    backbone = model.base_model
    if backbone is model:
        raise ModelError(f"{type(model).__name__} does not separate head and backbone; use method: full")
    inside = {id(module) for module in backbone.modules() if isinstance(module, nn.Linear | Conv1D)}
    names = [name for name, module in model.named_modules() if id(module) in inside]
    if not names:
        raise ModelError(f"{type(model).__name__} has no linear layers in its backbone; use method: full")
    if settings.target == "all-linear":
        return names
    chosen = [name for name in names if any(name == t or name.endswith(f".{t}") for t in settings.target)]
    if not chosen:
        known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in names}))
        raise ModelError(f"lora.target names no linear layer of {type(model).__name__}; there are {known}")
    return chosen


def _frozen(model: PreTrainedModel, targets: list[str]) -> tuple[str, ...]:
    """A sentence on the backbone's matrices that get no adapter, if there are some beside the embeddings."""
    backbone = model.base_model
    with_adapter = {id(model.get_submodule(name).weight) for name in targets}
    looked_up = {id(one.weight) for one in backbone.modules() if isinstance(one, nn.Embedding)}
    matrices = {
        name: one
        for name, one in backbone.named_parameters()
        if one.ndim > 1 and id(one) not in with_adapter | looked_up
    }
    if not matrices:
        return ()
    kinds = dict.fromkeys(re.sub(r"(^|\.)\d+(?=\.)", r"\1*", name) for name in matrices)
    frozen = sum(one.numel() for one in matrices.values())
    whole = frozen + sum(model.get_submodule(name).weight.numel() for name in targets)
    named = ", ".join(list(kinds)[:4]) + (f" and {len(kinds) - 4} more kinds" if len(kinds) > 4 else "")
    return (
        f"lora leaves {frozen:,} of {whole:,} weights outside the embeddings without an adapter: {named}",
    )
