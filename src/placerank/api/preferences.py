"""The ``Prefer`` header (RFC 7240): whether a client waits, and for how long."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Longer waits are cut to this many seconds.
LONGEST_WAIT_S = 60

_SECONDS = re.compile(r"[0-9]{1,9}")
_TOKEN = re.compile(r"""\s*([\w-]+)\s*(?:=\s*("?)([^",;]*)\2)?\s*(?:;[^,]*)?(?:,|$)""")


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a client prefers: ``wait_s`` is none without a wait."""

    respond_async: bool = False
    wait_s: int | None = None

    def applied(self, *, waited: bool) -> dict[str, str]:
        """The ``Preference-Applied`` header; ``waited`` says that the reply holds what was waited for."""
        names = []
        if waited and self.wait_s is not None:
            names.append(f"wait={self.wait_s}")
        elif self.respond_async:
            names.append("respond-async")
        return {"Preference-Applied": ", ".join(names)} if names else {}


def preferences(header: str | None) -> Preferences:
    """Read a ``Prefer`` header; what it says wrongly is left out, as RFC 7240 asks."""
    if not header:
        return Preferences()
    found = {match[1].lower(): match[3] for match in _TOKEN.finditer(header)}
    wait = found.get("wait")
    wait_s = min(int(wait), LONGEST_WAIT_S) if wait and _SECONDS.fullmatch(wait) else None
    return Preferences("respond-async" in found, wait_s)
