"""The GPU kernel in Triton's interpreter. It runs in a separate process: Triton selects the interpreter on import."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

_ROOT = Path(__file__).resolve().parents[4]
_without_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="torch came without Triton, as its CPU builds do"
)


def _check(device: str, environment: dict[str, str]) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "tests.unit.ranking.scoring.fused_check", device],
        cwd=_ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr[-3000:]


@_without_triton
def test_the_kernel_has_the_greatest_of_every_block_by_the_interpreter() -> None:
    _check("cpu", {"TRITON_INTERPRET": "1"})


@_without_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_the_order_is_the_plain_one_on_a_gpu() -> None:
    _check("cuda", {})


@_without_triton
def test_the_kernel_compiles_for_a_gpu_that_need_not_be_there() -> None:
    _check("compile", {"TRITON_INTERPRET": "0"})
