"""Next-token loss of a language model without holding all its logits at once.

With a vocabulary of 8,192 and 8,192 tokens per step, float32 logits and their gradients would take half a
gigabyte. Here the head runs on a few hundred tokens at a time, whose gradients are taken at once, while
the logits are still in cache.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from trilemma.models.backbone import CausalLanguageModel

LOGITS_AT_ONCE = 2**22
"""Logits that are computed together, 16 MB in float32: about the share of a core's last-level cache."""

IGNORED = -100
"""Target that is not predicted."""


def next_token_loss(
    model: PreTrainedModel, input_ids: Tensor, targets: Tensor, logits_at_once: int = LOGITS_AT_ONCE
) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy of the next tokens, and how many there are.

    Args:
        model: a causal language model. Those of this package take their logits from the head as they are, so
            that they can be computed in parts; of another one all logits are computed at once.
        input_ids: ``[B, T]``.
        targets: ``[B, T]``, the token after each input token; :data:`IGNORED` where none is predicted.
        logits_at_once: logits that are computed together.

    Returns:
        The sum in float32, differentiable, and the number of predicted tokens.
    """
    flat = targets.reshape(-1)
    count = (flat != IGNORED).sum()
    if not isinstance(model, CausalLanguageModel):
        # not model(...): next_token_forward may stand in its place
        logits = type(model).forward(model, input_ids=input_ids, use_cache=False).logits
        whole = F.cross_entropy(logits.flatten(0, 1).float(), flat, ignore_index=IGNORED, reduction="sum")
        return whole, count
    hidden = model.base_model(input_ids=input_ids, use_cache=False)[0]
    head = model.get_output_embeddings()
    states = hidden.reshape(-1, hidden.shape[-1])
    loss: Tensor = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
        states, flat, head, logits_at_once, *head.parameters()
    )
    return loss, count


@contextmanager
def next_token_forward(model: PreTrainedModel) -> Iterator[None]:
    """While open, ``model(input_ids=..., labels=...)`` is the mean next-token loss ``{"loss": ...}``.

    Wrappers for several devices call the model, so the loss must be what the model computes; a wrapping
    module would rename the weights in every checkpoint.
    """

    def forward(self: PreTrainedModel, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        loss, count = next_token_loss(self, input_ids, labels)
        return {"loss": loss / count}

    model.forward = MethodType(forward, model)
    try:
        yield
    finally:
        del model.forward


class _ChunkedLoss(torch.autograd.Function):
    """Cross-entropy of ``head(hidden)``, summed; its gradients are computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, targets: Tensor, head: nn.Module, logits_at_once: int, *weights: Tensor
    ) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        learns = ctx.needs_input_grad[0]
        d_hidden = torch.empty_like(hidden) if learns else None
        d_weights = [torch.zeros_like(weight) for weight in weights] if learns else []
        vocabulary = max(weight.shape[0] for weight in weights)
        count = max(1, logits_at_once // vocabulary)
        for start in range(0, len(hidden), count):
            part = slice(start, start + count)
            with torch.set_grad_enabled(learns):
                states = hidden[part].detach().requires_grad_(learns)
                logits = head(states)
            log_p = F.log_softmax(logits.detach().float(), dim=-1)
            predicted = targets[part] != IGNORED
            targets_here = targets[part].clamp_min(0).unsqueeze(-1)
            total -= (log_p.gather(-1, targets_here).squeeze(-1) * predicted).sum()
            if d_hidden is not None:
                d_logits = log_p.exp_().scatter_add_(-1, targets_here, -torch.ones_like(log_p[:, :1]))
                d_logits *= predicted.unsqueeze(-1)
                d_states, *grads = torch.autograd.grad(logits, (states, *weights), d_logits.to(logits.dtype))
                d_hidden[part] = d_states
                for d_weight, grad in zip(d_weights, grads, strict=True):
                    d_weight += grad
        if d_hidden is not None:
            ctx.save_for_backward(d_hidden, *d_weights)
        return total

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, *d_weights = ctx.saved_tensors
        d_hidden = d_hidden * d_loss.to(d_hidden.dtype)
        return d_hidden, None, None, None, *(weight * d_loss for weight in d_weights)
