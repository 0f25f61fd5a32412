"""Gated linear attention by PyTorch alone, chunkwise: any device, any dtype, gradients by hand.

Time is cut into chunks, the state carried from chunk to chunk, and everything inside a chunk done by matrix
products. A chunk is halved again and again: queries of the later half meet keys of the earlier half through
a reference at their border, so that both factors only ever decay (no exponent is positive, no decay
underflows against another). Halving ends at a *leaf* whose total decay is mild enough for one product about
its mid-point. The leaf is chosen from the gates: ordinary gates need no halving at all, and gates of -1000
per step are still exact.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trilemma.ops.states import sum_dtype

_LONGEST_CHUNKS = (64, 32)
"""Steps of the longest chunk, the second for strong decay: longer chunks mean more work inside them, shorter
ones more states between them."""

_LEAF_DECAY = 60.0
"""Largest log decay across a leaf: its factors are then at most exp(30), and their product exp(60) < 3e38."""


def gla_chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    initial_state: Tensor | None,
    scale: float,
    output_final_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """:func:`trilemma.ops.gla.gla` for inputs that are not empty."""
    output, state = _ChunkwiseGLA.apply(  # type: ignore[no-untyped-call]
        q, k, v, g, initial_state, scale, output_final_state
    )
    return output, state


# Layout inside: time is padded to whole chunks and each (batch, head, chunk) is a row, [B*H*N, C, channels].


def _to_chunks(x: Tensor, chunk: int) -> Tensor:
    """``[B, T, H, D]`` to rows ``[B * H * N, chunk, D]`` in the state's dtype; padded steps are 0."""
    batch, time, heads, channels = x.shape
    count = -(-time // chunk)
    rows = x.new_empty(batch, heads, count * chunk, channels, dtype=sum_dtype(x.dtype))
    rows[:, :, :time].copy_(x.transpose(1, 2))
    if time < count * chunk:
        rows[:, :, time:].zero_()
    return rows.view(-1, chunk, channels)


def _from_chunks(rows: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Inverse of :func:`_to_chunks`: ``[B, T, H, D]`` in ``dtype``, for ``shape`` ``[B, T, H]``."""
    batch, time, heads = shape
    x = rows.new_empty(batch, time, heads, rows.shape[-1], dtype=dtype)
    x.transpose(1, 2).copy_(rows.view(batch, heads, -1, rows.shape[-1])[:, :, :time])
    return x


@dataclass
class _Level:
    """One halving: rows of ``2 * half`` steps; later queries and earlier keys decay to the border."""

    half: int
    to_border: Tensor
    """exp(sum of g after the key, to the border), ``[., half, K]``."""
    from_border: Tensor
    """exp(sum of g from the border, up to the query), ``[., half, K]``."""


@dataclass
class _Decay:
    """All decay factors of a chunked sequence; each at most 1 except ``leaf_query``."""

    leaf_query: Tensor
    """exp(b - mid) in rows of one leaf; keys are divided by it."""
    levels: list[_Level]
    from_start: Tensor
    """log decay from before the chunk up to each step, ``[M, C, K]``."""
    to_end: Tensor
    """log decay after each step to the end of the chunk, ``[M, C, K]``."""


def _choose_chunk(g: Tensor) -> tuple[int, Tensor, Tensor]:
    """Chunk length, and the decays inside its leaves.

    Returns:
        The length, the gates of the first step of every leaf ``[., 1, K]``, and the log decay from the first
        step of a leaf up to each of its steps ``[., leaf, K]``. The first gates stand apart since they do not
        matter inside a leaf: added in, a strong one would round the others away.
    """
    time = g.shape[1]
    for longest in _LONGEST_CHUNKS:
        chunk = -(-time // -(-time // longest))  # equal chunks, least padding
        rows = _to_chunks(g, chunk)
        within = _cumulate(rows)
        if _is_mild(within):
            return chunk, rows[:, :1].clone(), within
    chunk = 1 << (chunk - 1).bit_length()
    rows = _to_chunks(g, chunk)
    within = _cumulate(rows)
    while not _is_mild(within) and rows.shape[1] > 1:
        rows = rows.view(-1, rows.shape[1] // 2, rows.shape[2])
        within = _cumulate(rows)
    return chunk, rows[:, :1].clone(), within


def _cumulate(rows: Tensor) -> Tensor:
    within = torch.empty_like(rows)
    within[:, :1].zero_()
    torch.cumsum(rows[:, 1:], dim=1, out=within[:, 1:])
    return within


def _is_mild(within: Tensor) -> bool:
    return bool(within[:, -1].amin() >= -_LEAF_DECAY)


def _decay(chunk: int, first: Tensor, within: Tensor) -> _Decay:
    """Decay factors, merged upwards from leaves: sums stay local to a block, so none cancels."""
    leaf_query = (within - within[:, -1:] / 2).exp_()
    from_start, to_end = within + first, within[:, -1:] - within
    levels = []
    half = within.shape[1]
    while half < chunk:
        starts, ends = _halves(from_start, half), _halves(to_end, half)
        levels.append(_Level(half, ends[0].exp(), starts[1].exp()))
        early_total, late_total = starts[0][:, -1:], starts[1][:, -1:]
        from_start = torch.cat([starts[0], starts[1] + early_total], dim=1)
        to_end = torch.cat([ends[0] + late_total, ends[1]], dim=1)
        half *= 2
    return _Decay(leaf_query, levels, from_start, to_end)


def _halves(rows: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Earlier and later halves ``[., half, D]`` of consecutive blocks of ``2 * half`` steps; views."""
    blocks = rows.view(-1, 2, half, rows.shape[-1])
    return blocks[:, 0], blocks[:, 1]


def _leaves(decay: _Decay, x: Tensor) -> Tensor:
    return x.view(-1, decay.leaf_query.shape[1], x.shape[-1])


# Inside chunks.


def _factors(decay: _Decay, q: Tensor, k: Tensor) -> Iterator[tuple[Tensor, Tensor, _Level | None]]:
    """Decayed queries and keys whose product is the scores: of the leaves, then of each level."""
    leaf = decay.leaf_query
    yield _leaves(decay, q) * leaf, _leaves(decay, k) / leaf, None
    for level in decay.levels:
        late_q, early_k = _halves(q, level.half)[1], _halves(k, level.half)[0]
        yield late_q * level.from_border, early_k * level.to_border, level


def _within(q: Tensor, k: Tensor, v: Tensor, decay: _Decay, scale: float) -> Tensor:
    """Output ``[M, C, V]`` due to keys of the same chunk."""
    output = torch.empty_like(v)
    for queries, keys, level in _factors(decay, q, k):
        scores = torch.bmm(queries, keys.mT)
        if level is None:
            _leaves(decay, output).baddbmm_(scores.tril_(), _leaves(decay, v), beta=0, alpha=scale)
        else:
            _halves(output, level.half)[1].baddbmm_(scores, _halves(v, level.half)[0], alpha=scale)
    return output


def _within_backward(
    d_output: Tensor, q: Tensor, k: Tensor, v: Tensor, decay: _Decay
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`_within` (``d_output`` holds the scale already) to q, k and v."""
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    for queries, keys, level in _factors(decay, q, k):
        scores = torch.bmm(queries, keys.mT)
        if level is None:
            late = _leaves(decay, d_output)
            scores.tril_()
            d_scores = torch.bmm(late, _leaves(decay, v).mT).tril_()
            torch.bmm(scores.mT, late, out=_leaves(decay, dv))
            torch.mul(torch.bmm(d_scores, keys), decay.leaf_query, out=_leaves(decay, dq))
            torch.div(torch.bmm(d_scores.mT, queries), decay.leaf_query, out=_leaves(decay, dk))
        else:
            late = _halves(d_output, level.half)[1]
            d_scores = torch.bmm(late, _halves(v, level.half)[0].mT)
            _halves(dv, level.half)[0].baddbmm_(scores.mT, late)
            _halves(dq, level.half)[1].addcmul_(torch.bmm(d_scores, keys), level.from_border)
            _halves(dk, level.half)[0].addcmul_(torch.bmm(d_scores.mT, queries), level.to_border)
    return dq, dk, dv


# Between chunks. States are [B*H, N, K, V].


def _carry(
    update: Tensor, keep: Tensor, first: Tensor | None, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """``s_next = keep_n * s_n + update_n`` over chunks n.

    Args:
        update: ``[B*H, N, K, V]``.
        keep: decay across each chunk ``[B*H, N, K, 1]``.
        first: state before the first chunk met ``[B*H, K, V]``; zeros when None.
        reverse: whether to go from the last chunk to the first.

    Returns:
        The state before each chunk (in the direction taken), shaped like ``update``, and the last state.
    """
    before = torch.empty_like(update)
    updates, keeps, befores = update.unbind(1), keep.unbind(1), before.unbind(1)
    order = range(len(updates))[::-1] if reverse else range(len(updates))
    if first is None:
        befores[order[0]].zero_()
    else:
        befores[order[0]].copy_(first)
    for n, following in pairwise(order):
        torch.addcmul(updates[n], keeps[n], befores[n], out=befores[following])
    last = torch.addcmul(updates[order[-1]], keeps[order[-1]], befores[order[-1]])
    return before, last


def _chunk_states(k_to_end: Tensor, v: Tensor, keep: Tensor, initial: Tensor | None) -> tuple[Tensor, Tensor]:
    update = torch.bmm(k_to_end.mT, v).view(*keep.shape[:2], keep.shape[2], -1)
    return _carry(update, keep, initial)


def _keep(decay: _Decay, sequences: int) -> Tensor:
    key_dim = decay.from_start.shape[-1]
    return decay.from_start[:, -1].exp().view(sequences, -1, key_dim, 1)


class _ChunkwiseGLA(torch.autograd.Function):
    """Saves its inputs, cut into chunks, and computes everything else again for the gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        g: Tensor,
        initial_state: Tensor | None,
        scale: float,
        output_final_state: bool,
    ) -> tuple[Tensor, Tensor | None]:
        batch, time, heads, key_dim = q.shape
        chunk, first, within = _choose_chunk(g)
        decay = _decay(chunk, first, within)
        rows_q, rows_k, rows_v = _to_chunks(q, chunk), _to_chunks(k, chunk), _to_chunks(v, chunk)
        output = _within(rows_q, rows_k, rows_v, decay, scale)
        final = None
        carries = time > chunk or initial_state is not None or output_final_state
        if carries:
            initial = None
            if initial_state is not None:
                initial = initial_state.reshape(batch * heads, key_dim, -1)
            keys = rows_k * decay.to_end.exp()
            before, final = _chunk_states(keys, rows_v, _keep(decay, batch * heads), initial)
            queries = rows_q * decay.from_start.exp()
            output.baddbmm_(queries, before.view(-1, *before.shape[2:]), alpha=scale)
        ctx.save_for_backward(rows_q, rows_k, rows_v, first, within, initial_state)
        ctx.chunk, ctx.scale, ctx.carries, ctx.device = chunk, scale, carries, q.device.type
        ctx.shape = q.shape[:3]
        ctx.dtypes = q.dtype, k.dtype, v.dtype, g.dtype
        ctx.set_materialize_grads(False)
        if final is not None:
            final = final.view(batch, heads, key_dim, -1) if output_final_state else None
        return _from_chunks(output, ctx.shape, v.dtype), final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor | None, d_final: Tensor | None) -> tuple[Tensor | None, ...]:
        with torch.autocast(ctx.device, enabled=False):
            return _backward(ctx, d_output, d_final)


def _backward(ctx: Any, d_output: Tensor | None, d_final: Tensor | None) -> tuple[Tensor | None, ...]:
    q, k, v, first, within, initial_state = ctx.saved_tensors
    batch, _, heads = ctx.shape
    sequences, key_dim = batch * heads, q.shape[-1]
    decay = _decay(ctx.chunk, first, within)
    d_rows = torch.zeros_like(v) if d_output is None else _to_chunks(d_output, ctx.chunk).mul_(ctx.scale)
    dq, dk, dv = _within_backward(d_rows, q, k, v, decay)
    d_initial = None
    d_border = None
    if ctx.carries:
        initial = None if initial_state is None else initial_state.reshape(sequences, key_dim, -1)
        to_end, from_start, keep = decay.to_end.exp(), decay.from_start.exp(), _keep(decay, sequences)
        keys = k * to_end
        before, final = _chunk_states(keys, v, keep, initial)
        d_update = torch.bmm((q * from_start).mT, d_rows).view_as(before)
        last = None if d_final is None else d_final.reshape(sequences, key_dim, -1)
        d_after, d_first = _carry(d_update, keep, last, reverse=True)
        d_states = d_after.view(-1, key_dim, v.shape[-1])
        dq.addcmul_(torch.bmm(d_rows, before.view_as(d_states).mT), from_start)
        dk.addcmul_(torch.bmm(v, d_states.mT), to_end)
        dv.baddbmm_(keys, d_states)
        after = torch.cat([before[:, 1:], final.unsqueeze(1)], dim=1)
        d_border = (after * d_after).sum(-1).view(-1, key_dim)
        if ctx.needs_input_grad[4]:
            d_initial = d_first.view_as(initial_state).to(initial_state.dtype)
    dg = _gate_gradient(q, dq, k, dk, d_border)
    grads = (_from_chunks(d, ctx.shape, dtype) for d, dtype in zip((dq, dk, dv, dg), ctx.dtypes, strict=True))
    return *grads, d_initial, None, None


def _gate_gradient(q: Tensor, dq: Tensor, k: Tensor, dk: Tensor, d_border: Tensor | None) -> Tensor:
    """Gradient of the log decays ``[M, C, K]``.

    A gate scales whatever crosses it from earlier to later steps. Summed over all pairs with both ends at or
    after step t, query terms and key terms are equal and cancel, so that the reverse cumulative sum of
    ``q * dq - k * dk`` leaves just the pairs across t; what crosses the end of the chunk is added there.
    """
    crossing = torch.mul(q, dq).addcmul_(k, dk, value=-1)
    if d_border is not None:
        crossing[:, -1].add_(d_border)
    return crossing.flip(1).cumsum(1).flip(1)
