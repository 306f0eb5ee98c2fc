"""The ``Prefer`` header (RFC 7240): whether a client waits, and for how long."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Longer waits are cut to this many seconds.
LONGEST_WAIT_S = 60

# Separators within quotes do not count. Each pattern reads a character only once, whatever a client sends.
_QUOTED = r'"(?:[^"\\]|\\.)*"?'
_PREFERENCE = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_PARAMETER = re.compile(rf'(?:[^;"]|{_QUOTED})+')


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a client prefers: ``wait_s`` is none without a wait."""

    respond_async: bool = False
    wait_s: int | None = None

    def applied(self, *, waited: bool) -> dict[str, str]:
        """The ``Preference-Applied`` header; ``waited`` says that the reply holds the result."""
        names = []
        if waited and self.wait_s is not None:
            names.append(f"wait={self.wait_s}")
        elif self.respond_async:
            names.append("respond-async")
        return {"Preference-Applied": ", ".join(names)} if names else {}


def preferences(headers: Sequence[str]) -> Preferences:
    """Read the ``Prefer`` headers; malformed preferences are ignored, as RFC 7240 requires."""
    found: dict[str, str] = {}
    for preference in _PREFERENCE.findall(",".join(headers)):
        name, _, value = next(iter(_PARAMETER.findall(preference)), "").partition("=")
        # If a preference is repeated, the first one counts.
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return Preferences("respond-async" in found, _seconds(found.get("wait", "")))


def _seconds(value: str) -> int | None:
    if not (value.isascii() and value.isdecimal()):
        return None
    # Three digits without a leading zero are more than the longest wait. Further digits do not matter.
    return min(int(value.lstrip("0")[:3] or "0"), LONGEST_WAIT_S)
