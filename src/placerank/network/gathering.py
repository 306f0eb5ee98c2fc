"""One write for what one turn of the event loop has written.

uvloop hands each write to the kernel at once: a system call and a packet each, and a reader that is woken for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Writable(Protocol):
    """What can be written to and closed: a transport, or a stream."""

    def write(self, data: bytes) -> object:
        """Take data to be sent."""

    def write_eof(self) -> object:
        """Send what was taken, then say that nothing follows."""

    def close(self) -> object:
        """Send what was taken, then close."""

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""


class Gathering:
    """Something writable that is written to once a turn at most; all else of it is as it was."""

    def __init__(self, inner: Writable, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._inner = inner
        self._call_soon = call_soon
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write before the loop turns."""
        if not self._held:
            self._call_soon(self._flush)
        self._held.append(data)

    def write_eof(self) -> None:
        """Write what is held, then say that nothing follows."""
        self._flush()
        self._inner.write_eof()

    def close(self) -> None:
        """Write what is held, then close."""
        self._flush()
        self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _flush(self) -> None:
        held, self._held = self._held, []
        # The other side may have gone since: then nobody is left to be written to, and to try raises.
        if held and not self._inner.is_closing():
            self._inner.write(b"".join(held))
