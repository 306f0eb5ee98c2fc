"""The first pass on a GPU: one kernel that keeps the greatest score of every block, and never writes a score.

A score costs 2·D operations and no memory traffic at all; the columns are read once for every 64 travellers. Runs on a
CPU with ``TRITON_INTERPRET=1``, for tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
import triton
import triton.language as tl

from placerank.ranking.rough import LOG_PRICE

if TYPE_CHECKING:
    from placerank.ranking.rough import RoughTastes

_TRAVELLERS: Final = 64
#: A program takes so many rows: whole blocks of them.
_ROWS: Final = 128


def fused_tops(columns: torch.Tensor, n: int, block: int, tastes: RoughTastes) -> torch.Tensor:
    """The greatest score of every block of rows, float32 [B, blocks]; ``columns`` [D, rows] is filled up to blocks."""
    batch, rows = len(tastes.weights), columns.shape[1]
    tops = torch.empty(batch, rows // block, device=columns.device)
    travellers = min(_TRAVELLERS, triton.next_power_of_2(batch))
    grid = (triton.cdiv(rows, _ROWS), triton.cdiv(batch, travellers))
    _kernel[grid](
        columns,
        tastes.weights.contiguous(),
        tastes.over,
        tastes.splits,
        tops,
        tastes.slope,
        n,
        rows,
        batch,
        features=len(columns),
        log_price=LOG_PRICE,
        travellers=travellers,
        rows_each=_ROWS,
        block=block,
    )
    return tops


# Without types: the compiler reads annotations, and knows its own only.
@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    columns,
    weights,
    over,
    splits,
    tops,
    slope,
    n,
    rows,
    batch,
    features: tl.constexpr,
    log_price: tl.constexpr,
    travellers: tl.constexpr,
    rows_each: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0) * rows_each + tl.arange(0, rows_each)
    who = tl.program_id(1) * travellers + tl.arange(0, travellers)
    there, real = who < batch, row < n
    scores = tl.zeros((travellers, rows_each), dtype=tl.float32)
    # Products one by one and in float32: the tensor cores' 10 bits of mantissa would leave too much undecided.
    for feature in range(features):
        column = tl.load(columns + feature * rows + row, mask=real, other=0.0)
        weight = tl.load(weights + who * features + feature, mask=there, other=0.0)
        scores += weight[:, None] * column[None, :]
    penalty = tl.load(over + who, mask=there, other=0.0)[:, None]
    penalty += slope * tl.load(columns + log_price * rows + row, mask=real, other=0.0)[None, :]
    split = tl.load(splits + who, mask=there, other=0)
    scores += tl.where(row[None, :] >= split[:, None], penalty, 0.0)
    scores = tl.where(real[None, :], scores, -float("inf"))
    greatest = tl.max(tl.reshape(scores, (travellers, rows_each // block, block)), axis=2)
    at = tl.program_id(0) * (rows_each // block) + tl.arange(0, rows_each // block)
    inside = there[:, None] & (at < rows // block)[None, :]
    tl.store(tops + who[:, None] * (rows // block) + at[None, :], greatest, mask=inside)
