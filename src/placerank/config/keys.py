"""Lists of bearer keys. A list that is set has at least one key, and a client can send each of them."""

from __future__ import annotations

import re
from typing import Final

#: What a key may consist of: the visible characters of ASCII (RFC 6750 allows fewer). A header carries no others.
_SENT: Final = re.compile(r"[!-~]+")
_MEANT: Final = re.compile(r"[0-9A-Za-z]")


def split(listed: str) -> tuple[str, ...]:
    """The keys of a comma-separated list, without the blanks around them."""
    return tuple(key for part in listed.split(",") if (key := part.strip()))


def check(listed: str) -> None:
    """Raise ``ValueError`` if a list has no key, or a key that no client can send; the message shows no key."""
    keys = split(listed)
    if not keys:
        raise ValueError("it is set, but holds no key; set a key, or remove the variable to leave its routes open")
    for number, key in enumerate(keys, 1):
        if not _SENT.fullmatch(key):
            raise ValueError(
                f"key {number} of {len(keys)} holds a blank, a control character or a character that is not ASCII; "
                "separate keys by commas"
            )
        if not _MEANT.search(key):
            raise ValueError(f"key {number} of {len(keys)} has neither a letter nor a digit; choose a random one")
