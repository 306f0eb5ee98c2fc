"""The first pass on a GPU: one kernel that writes only the greatest score of every block.

A score costs 2·D operations and no memory traffic. The columns are read once per 64 travellers. With
``TRITON_INTERPRET=1`` the kernel runs on a CPU, for tests.
"""

from __future__ import annotations

from typing import Final

import torch
import triton
import triton.language as tl

_TRAVELLERS: Final = 64
#: Rows per program: a multiple of every block size.
_ROWS: Final = 128


def fused_tops(columns: torch.Tensor, block: int, weights: torch.Tensor) -> torch.Tensor:
    """The greatest score of every block of rows, float32 [B, blocks].

    ``columns`` [D, rows] hold whole blocks of ``block`` rows; ``weights`` are [B, D].
    """
    batch, rows = len(weights), columns.shape[1]
    tops = torch.empty(batch, rows // block, device=columns.device)
    travellers = min(_TRAVELLERS, triton.next_power_of_2(batch))
    grid = (triton.cdiv(rows, _ROWS), triton.cdiv(batch, travellers))
    _kernel[grid](
        columns,
        weights.contiguous(),
        tops,
        rows,
        batch,
        features=len(columns),
        travellers=travellers,
        rows_each=_ROWS,
        block=block,
    )
    return tops


# No types: Triton's compiler reads annotations and accepts only its own.
@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    columns,
    weights,
    tops,
    rows,
    batch,
    features: tl.constexpr,
    travellers: tl.constexpr,
    rows_each: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0) * rows_each + tl.arange(0, rows_each)
    who = tl.program_id(1) * travellers + tl.arange(0, travellers)
    there, real = who < batch, row < rows
    scores = tl.zeros((travellers, rows_each), dtype=tl.float32)
    # Full float32 products: with the tensor cores' 10 bits of mantissa, too many blocks would stay undecided.
    for feature in range(features):
        column = tl.load(columns + feature * rows + row, mask=real, other=0.0)
        weight = tl.load(weights + who * features + feature, mask=there, other=0.0)
        scores += weight[:, None] * column[None, :]
    greatest = tl.max(tl.reshape(scores, (travellers, rows_each // block, block)), axis=2)
    at = tl.program_id(0) * (rows_each // block) + tl.arange(0, rows_each // block)
    inside = there[:, None] & (at < rows // block)[None, :]
    tl.store(tops + who[:, None] * (rows // block) + at[None, :], greatest, mask=inside)
