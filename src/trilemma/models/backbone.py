"""The frame that all language models here share: embeddings, residual blocks, final norm, head.

An architecture supplies its configuration, its block, its cache and what its mixers need to know of a batch
(:meth:`Backbone.context`); the frame supplies the Hugging Face interface.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from trilemma.errors import ModelError
from trilemma.models.blocks import Block, Linear, RMSNorm
from trilemma.models.cache import RecurrentCache
from trilemma.models.configuration import LanguageModelConfig
from trilemma.models.decoding import SingleTokenStep
from trilemma.models.fused_gate import separate_gates


class LanguageModel(PreTrainedModel):  # type: ignore[misc]
    """Base of backbone, language model and classifier of one architecture."""

    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    fused_gate_only = False
    """Whether the MLP keeps gate and up in one tensor; otherwise a fused file is split when it is loaded."""

    _input_embed_layer = "embeddings"
    _no_split_modules = ("Block",)
    _skip_keys_device_placement = ("past_key_values",)
    _supports_sdpa = True

    def __init__(self, config: LanguageModelConfig) -> None:
        config.check()  # fields may have been set after the configuration was built
        super().__init__(config)

    @property
    def kernel(self) -> str:
        """Name of the path that the token mixer runs on; a backbone says so of itself."""
        return str(self.base_model.kernel)

    def _as_asked(self, output: Any, return_dict: bool | None) -> Any:
        """``output``, or a tuple of it where the call or the configuration asks for one."""
        as_is = self.config.return_dict if return_dict is None else return_dict
        return output if as_is else output.to_tuple()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise for training; ``init`` leaves alone what a checkpoint has filled."""
        std = self.config.initializer_range
        if isinstance(module, nn.Linear | nn.Conv1d):
            init.normal_(module.weight, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=std)
        elif isinstance(module, RMSNorm):
            init.ones_(module.weight)

    @staticmethod
    def _load_pretrained_model(
        model: "LanguageModel", state_dict: Any, checkpoint_files: Any, *args: Any, **kwargs: Any
    ) -> Any:
        if not model.fused_gate_only:
            state_dict = separate_gates(state_dict, checkpoint_files, model.config.mlp_width())
        return PreTrainedModel._load_pretrained_model(model, state_dict, checkpoint_files, *args, **kwargs)


class Backbone(LanguageModel):
    """Token ids to normed states [B, T, D]; subclasses define the blocks."""

    step: ClassVar[SingleTokenStep | None] = None
    """One new token through all blocks in one compiled call, where the architecture has such a kernel."""

    prepared_step: Any = None
    """What ``step`` keeps of the weights: dropped when they are moved, cast or loaded."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(self.block(config, index) for index in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.gradient_checkpointing = False

    def _apply(self, *args: Any, **kwargs: Any) -> "Backbone":
        self.prepared_step = None
        super()._apply(*args, **kwargs)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.prepared_step = None
        super()._load_from_state_dict(*args, **kwargs)

    def block(self, config: Any, index: int) -> Block:
        """Block number ``index``."""
        raise NotImplementedError

    def new_cache(self) -> Cache:
        """An empty cache; by default one of recurrent states."""
        return RecurrentCache(self.config.num_hidden_layers)

    def context(
        self, hidden: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None, past: Cache | None
    ) -> tuple[Any, ...]:
        """What every mixer is given beside its input, computed once per forward pass."""
        raise NotImplementedError

    def through_blocks(
        self,
        hidden: Tensor,
        context: tuple[Any, ...],
        past: Cache | None,
        inspect: Callable[[Tensor], object] | None = None,
    ) -> Tensor:
        """[B, T, D] to [B, T, D] through all blocks; ``inspect`` is shown the input of each."""
        if inspect is None and self.step is not None and past is not None and past.get_seq_length():
            out = self.step(self, hidden, context, past)
            if out is not None:
                return out
        for block in self.layers:
            if inspect is not None:
                inspect(hidden)
            hidden = block(hidden, *context, past_key_values=past)
        return hidden

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        token_type_ids: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Run the model.

        Args:
            input_ids: [B, T].
            attention_mask: [B, cached + T], 1 at tokens and 0 at pads; None means no pads.
            position_ids: [B, T] or [1, T], used by attention only; by default counted from the first token.
            past_key_values: cache of earlier tokens; it is updated in place.
            inputs_embeds: [B, T, D], instead of ``input_ids``.
            use_cache: whether to return a cache; by default ``config.use_cache``, in training False.
            output_hidden_states: return L + 1 states: the input of every block, then the normed output.
            output_attentions: must not be set, since no architecture here forms its attention matrix.
            token_type_ids: not used, since these models know one kind of token; many tokenizers give them.
            return_dict: False for a tuple.

        Raises:
            ModelError: if inputs do not fit each other.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ModelError("give the model either input_ids or inputs_embeds, one of the two")
        if output_attentions:
            raise ModelError("attention weights are never formed here; leave output_attentions unset")
        hidden = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        if use_cache and past_key_values is None and not (self.gradient_checkpointing and self.training):
            past_key_values = self.new_cache()
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states

        context = self.context(hidden, attention_mask, position_ids, past_key_values)
        states: list[Tensor] = []
        inspect = states.append if output_hidden_states else None
        hidden = self.through_blocks(hidden, context, past_key_values, inspect)
        hidden = self.norm(hidden)
        if isinstance(past_key_values, RecurrentCache):
            past_key_values.advance(hidden.shape[1])
        output = BaseModelOutputWithPast(
            last_hidden_state=hidden,
            past_key_values=past_key_values,
            hidden_states=(*states, hidden) if output_hidden_states else None,
        )
        return self._as_asked(output, return_dict)


class CausalLanguageModel(LanguageModel, GenerationMixin):  # type: ignore[misc]
    """Backbone and language-model head."""

    backbone_class: ClassVar[type[Backbone]]
    accepts_loss_kwargs = True
    _tied_weights_keys = {"lm_head.weight": "model.embeddings.weight"}  # noqa: RUF012

    lm_head: nn.Module

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__(config)
        self.model = self.backbone_class(config)
        self.lm_head = self.new_head(config)
        self.post_init()

    def new_head(self, config: Any) -> nn.Module:
        """The language-model head."""
        return Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def kernel(self) -> str:
        """Names of the path that the token mixer runs on, and of what decodes where that is another."""
        step = self.model.step
        return self.model.kernel + ("" if step is None else step.kernel(self.model))

    def forward(  # noqa: D417
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        token_type_ids: Tensor | None = None,
        return_dict: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Next-token logits [B, T, V]; further arguments as in :meth:`Backbone.forward`.

        Args:
            labels: [B, T], the tokens themselves; the loss shifts them. -100 is not predicted.
            logits_to_keep: compute only the last that many logits (0: all), or those at these positions.
            num_items_in_batch: predicted tokens over which the loss is averaged; None counts them here.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=self.config.vocab_size,
                num_items_in_batch=num_items_in_batch,
            )
        output = CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )
        return self._as_asked(output, return_dict)


class RecurrentGeneration:
    """Mixed into a language model whose cache is recurrent: ``generate`` lets the model make its cache."""

    _is_stateful = True

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False
