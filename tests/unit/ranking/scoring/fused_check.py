"""Compares the GPU's kernel with a plain float64 scoring, or only compiles it.

``python -m tests.unit.ranking.scoring.fused_check cpu|cuda|compile``
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from tests.unit.ranking.helpers import random_model, table

from placerank.demo import synthetic
from placerank.ranking.prior import prior
from placerank.ranking.scoring import rough
from placerank.ranking.scoring.fused import _kernel, fused_tops
from placerank.ranking.scoring.scorer import Scorer

SIZES = (1, 210, rough.SMALL + 1, rough.SMALL + 3 * rough.MEDIUM_BLOCK + 5)


def check_tops(device: str) -> None:
    for n in SIZES:
        for model in (prior(), random_model(n)):
            for batch in (1, 70):
                _compare(Scorer(model, table(synthetic.places(n, seed=n)), device=device), batch)


def _compare(scorer: Scorer, batch: int) -> None:
    tastes = scorer.model.tastes(synthetic.travellers(batch, seed=batch))
    catalogue = scorer._rough
    assert isinstance(catalogue, rough.RoughCatalogue)
    weights = catalogue.rough(tastes).weights
    tops = fused_tops(catalogue.columns, catalogue.block, weights)
    products = tastes.places @ catalogue.columns.cpu().numpy().astype(np.float64)
    plain = products.reshape(batch, -1, catalogue.block).max(axis=2)
    assert (np.abs(tops.cpu().numpy() - plain) <= scorer._rounding(tastes)[:, None]).all()


def check_ranking(device: str) -> None:
    """A GPU ranks exactly as a CPU."""
    for n in SIZES:
        places, travellers = table(synthetic.places(n, seed=n)), synthetic.travellers(70, seed=n)
        assert Scorer(prior(), places, device=device).rank(travellers, 10) == Scorer(prior(), places).rank(
            travellers, 10
        )


def check_compiles() -> None:
    """The kernel compiles for a GPU of compute capability 9.0, for single rows and for blocks."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    pointers = dict.fromkeys(("columns", "weights", "tops"), "*fp32")
    numbers = {"rows": "i32", "batch": "i32"}
    for block in (1, rough.MEDIUM_BLOCK, rough.BLOCK):
        fixed = {"features": 16, "travellers": 64, "rows_each": 128, "block": block}
        signature = {**pointers, **numbers, **dict.fromkeys(fixed, "constexpr")}
        source = ASTSource(fn=_kernel, signature=signature, constexprs=fixed)
        assert "ptx" in triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "compile":
        check_compiles()
        sys.exit()
    check_tops(sys.argv[1])
    if sys.argv[1] == "cuda":
        check_ranking(sys.argv[1])
