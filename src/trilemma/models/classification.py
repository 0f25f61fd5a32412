"""Sequence classification on a causal backbone, pooled at the last real token."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

from trilemma.errors import ModelError
from trilemma.models.backbone import Backbone, LanguageModel
from trilemma.models.configuration import LanguageModelConfig
from trilemma.models.padding import checked_mask, last_token


class SequenceClassifier(LanguageModel):
    """``score`` [num_labels, D], without bias, on the normed state of the last token.

    The last token is found by the attention mask, so that left and right padding are pooled alike, also
    where the pad token occurs in texts (as when pad falls back to eos).
    """

    backbone_class: ClassVar[type[Backbone]]
    accepts_loss_kwargs = False

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__(config)
        self.model = self.backbone_class(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    def forward(  # noqa: D417
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **inputs: Any,
    ) -> Any:
        """Class logits [B, num_labels]; further arguments as in :meth:`Backbone.forward`.

        Args:
            labels: [B] class numbers (cross-entropy), [B] numbers for one output (squared error), or
                [B, num_labels] numbers (binary cross-entropy).
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            use_cache=bool(use_cache),
            return_dict=True,
            **inputs,
        )
        hidden = outputs.last_hidden_state
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        pooled = hidden[rows, self._last_tokens(hidden, input_ids, attention_mask)]
        logits = self.score(pooled)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, pooled_logits=logits, config=self.config)
        output = SequenceClassifierOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )
        return self._as_asked(output, return_dict)

    def _last_tokens(self, hidden: Tensor, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        batch, length = hidden.shape[:2]
        if attention_mask is not None:
            return last_token(checked_mask(attention_mask[:, -length:], batch, length))
        if input_ids is not None and self.config.pad_token_id is not None:
            return last_token(input_ids != self.config.pad_token_id)
        if batch == 1:
            return torch.tensor([length - 1], device=hidden.device)
        raise ModelError(
            "a batch of several texts needs an attention_mask (or a pad_token_id in the configuration and "
            "input_ids): without it the last token of a padded text cannot be found"
        )
