"""Memory kept between a thread's calls: large temporaries would be faulted in anew each time."""

from __future__ import annotations

import math
import threading

import torch


class Buffers:
    """Float32 tensors by name, for each thread its own. What is in them stays until the next call for that name."""

    def __init__(self) -> None:
        self._held = threading.local()

    def of(self, name: str, *shape: int) -> torch.Tensor:
        """A tensor of this shape with whatever it holds."""
        size = math.prod(shape)
        held: torch.Tensor | None = getattr(self._held, name, None)
        if held is None or held.numel() < size:
            held = torch.empty(size)
            setattr(self._held, name, held)
        return held[:size].view(shape)
