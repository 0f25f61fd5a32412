"""How a classifier's loss changes with the embeddings of its tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trilemma.errors import ModelError


@dataclass(frozen=True)
class TokenGradients:
    """How one text's loss changes with the embeddings of its tokens.

    Attributes:
        ids: the tokens, [T].
        spans: where they are in the text, [T, 3], from :func:`trilemma.inference.batching.token_spans`.
        gradients: gradients of the loss by each token's embedding, [T, D] float32.
    """

    ids: NDArray[np.int64]
    spans: NDArray[np.int64]
    gradients: NDArray[np.float32]


def embedding_gradients(model: Any, inputs: dict[str, Any], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Gradients of each item's cross-entropy by the embeddings of its tokens.

    Of quantised models these are the gradients of training, straight through the rounding.

    Args:
        model: a sequence classifier; its mode (training, evaluation) is left as it is.
        inputs: arguments of its forward pass, padded.
        labels: the class indices whose loss is computed, [B].

    Returns:
        [B, T, D].

    Raises:
        ModelError: if the model is packed, or reads its embeddings more than once.
    """
    with weights_fixed(model), torch.inference_mode(False), torch.enable_grad():
        embedded, logits, turned = _from_embeddings(model, inputs)
        classes = torch.from_numpy(labels).to(logits.device)
        # Items do not mix in the model, so the gradient of the sum by one item is that of its own loss.
        loss = torch.nn.functional.cross_entropy(logits.float(), classes, reduction="sum")
        (gradients,) = torch.autograd.grad(loss, embedded)
        if turned:
            gradients = gradients.transpose(0, 1)
    found: NDArray[np.float32] = gradients.float().cpu().numpy()
    return found


def embedding_matrix(model: Any) -> NDArray[np.float32]:
    """The embedding of every token as the first block receives it, [V, D]."""
    layer = model.get_input_embeddings()
    with torch.inference_mode():
        # By the layer and not its weight, since some layers scale what they look up.
        found: NDArray[np.float32] = (
            layer(torch.arange(len(layer.weight), device=layer.weight.device)).float().cpu().numpy()
        )
    return found


@contextmanager
def weights_fixed(model: Any) -> Iterator[None]:
    """Without gradients of weights, which would double the cost."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)


def _from_embeddings(model: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor, bool]:
    """The embeddings of a batch [B, T, D], detached from what they come from, and its logits.

    The last result says whether the model looks them up position by position, [T, B, D], as XLNet does.

    A hook takes the embedding layer's output: given ``inputs_embeds`` in place of ids, many classifiers no
    longer find their last token.
    """
    seen: list[Tensor] = []
    turned = False

    def cut(module: torch.nn.Module, args: Any, output: Tensor) -> Tensor:
        nonlocal turned
        turned = not torch.equal(args[0], inputs["input_ids"])
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    hook = model.get_input_embeddings().register_forward_hook(cut)
    try:
        logits = model(**inputs).logits
    finally:
        hook.remove()
    if len(seen) != 1:
        raise ModelError(
            f"the model reads its embeddings {len(seen)} times per pass, where gradients need exactly one; "
            "use an attack that needs no gradients"
        )
    return seen[0], logits, turned
