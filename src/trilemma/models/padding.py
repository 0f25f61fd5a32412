"""What an attention mask [B, T] (1 = token, 0 = pad) says about where the tokens are."""

import torch
from torch import Tensor

from trilemma.errors import ModelError


def checked_mask(mask: Tensor, batch: int, length: int) -> Tensor:
    """``mask`` as booleans [batch, length], the length being that of cached and new positions.

    Raises:
        ModelError: unless ``mask`` has that shape, or one row for all.
    """
    if mask.dim() != 2 or mask.shape[0] not in (1, batch) or mask.shape[1] != length:
        raise ModelError(
            f"the attention mask has shape {tuple(mask.shape)}; it must be [{batch}, {length}], "
            "one number for every cached and every new token"
        )
    return mask.to(torch.bool).expand(batch, length)


def pads_only_right(mask: Tensor) -> bool:
    """Whether no row of the boolean ``mask`` has a token after a pad: causal order then hides every pad."""
    return not bool((mask[:, 1:] > mask[:, :-1]).any())


def last_token(mask: Tensor) -> Tensor:
    """Index [B] of the rightmost token of every row of the boolean ``mask``."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return (positions * mask).argmax(dim=-1)


def tokens_first(mask: Tensor) -> Tensor:
    """Order [B, T] that moves the tokens of every row before its pads and keeps their sequence."""
    return torch.argsort((~mask).to(torch.uint8), dim=-1, stable=True)


def reordered(x: Tensor, order: Tensor) -> Tensor:
    """``x`` [B, T, D] with the positions of each row taken in ``order`` [B, T]."""
    return x.gather(1, order.unsqueeze(-1).expand_as(x))
