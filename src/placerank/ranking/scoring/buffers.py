"""Memory that a thread uses again in later calls: allocating large temporaries each time would cost page faults."""

from __future__ import annotations

import math
import threading

import torch


class Buffers:
    """Named float32 tensors, separate for each thread. A tensor is valid until the next call with the same name."""

    def __init__(self) -> None:
        self._held = threading.local()

    def of(self, name: str, *shape: int) -> torch.Tensor:
        """An uninitialised tensor of this shape."""
        size = math.prod(shape)
        held: torch.Tensor | None = getattr(self._held, name, None)
        if held is None or held.numel() < size:
            held = torch.empty(size)
            setattr(self._held, name, held)
        return held[:size].view(shape)
