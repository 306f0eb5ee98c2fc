"""Merges all writes of one turn of the event loop into one.

uvloop passes each write to the kernel at once. Each write costs a system call and a packet, and wakes the reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Writable(Protocol):
    """A transport or a stream: it can be written to and closed."""

    def write(self, data: bytes) -> object:
        """Accept data to send."""

    def write_eof(self) -> object:
        """Send the accepted data, then signal the end of the stream."""

    def close(self) -> object:
        """Send the accepted data, then close."""

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""


class Gathering:
    """Wraps a ``Writable`` and writes to it at most once a turn; everything else is passed through."""

    def __init__(self, inner: Writable, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._inner = inner
        self._call_soon = call_soon
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Hold the data; it is written once the callbacks that are ready now have run."""
        if not self._held:
            self._call_soon(self._flush)
        self._held.append(data)

    def write_eof(self) -> None:
        """Write the held data, then signal the end of the stream."""
        self._flush()
        self._inner.write_eof()

    def close(self) -> None:
        """Write the held data, then close."""
        self._flush()
        self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _flush(self) -> None:
        held, self._held = self._held, []
        # The peer may have closed the connection meanwhile. Writing to a closing transport raises.
        if held and not self._inner.is_closing():
            self._inner.write(b"".join(held))
