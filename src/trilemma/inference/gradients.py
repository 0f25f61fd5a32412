"""How a classifier's loss changes with the embeddings of its tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trilemma.errors import ModelError


def embedding_gradients(model: Any, inputs: dict[str, Any], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Gradients of each item's cross-entropy by the embeddings of its tokens.

    Quantised models give those that they are trained with, straight through the rounding.

    Args:
        model: a sequence classifier, in the mode that is meant.
        inputs: arguments of its forward pass, padded.
        labels: the class index whose loss is meant, [B].

    Returns:
        [B, T, D].

    Raises:
        ModelError: if the model is packed, or reads its embeddings more than once.
    """
    with _weights_fixed(model), torch.inference_mode(False), torch.enable_grad():
        embedded, logits = _from_embeddings(model, inputs)
        classes = torch.from_numpy(labels).to(logits.device)
        # Items do not meet in the model, so the sum's gradient by one of them is its own loss's.
        loss = torch.nn.functional.cross_entropy(logits.float(), classes, reduction="sum")
        (gradients,) = torch.autograd.grad(loss, embedded)
    found: NDArray[np.float32] = gradients.float().cpu().numpy()
    return found


def embedding_matrix(model: Any) -> NDArray[np.float32]:
    """The embedding of every token as the model's blocks are given it, [V, D]."""
    layer = model.get_input_embeddings()
    with torch.inference_mode():
        # By the layer and not its weight: some scale what they look up.
        found: NDArray[np.float32] = (
            layer(torch.arange(len(layer.weight), device=layer.weight.device)).float().cpu().numpy()
        )
    return found


@contextmanager
def _weights_fixed(model: Any) -> Iterator[None]:
    """No gradients of weights, which would cost as much again."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)


def _from_embeddings(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """The embeddings of a batch [B, T, D], cut off from what they come from, and its logits.

    The embedding layer's output is taken on its way: given ``inputs_embeds`` in place of ids, many
    classifiers no longer find their last token.
    """
    seen: list[torch.Tensor] = []

    def cut(module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    hook = model.get_input_embeddings().register_forward_hook(cut)
    try:
        logits = model(**inputs).logits
    finally:
        hook.remove()
    if len(seen) != 1:
        raise ModelError(
            f"the model reads its embeddings {len(seen)} times a pass, and gradients need one that does so "
            "once; use an attack that needs no gradients"
        )
    return seen[0], logits
