"""Truth values as people and programs write them."""

from __future__ import annotations

from typing import Final

#: PostgreSQL writes t and f, pandas True and 1.0, spreadsheets TRUE and WAHR, people yes and no.
_WORDS: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1", "1.0", "wahr", "ja"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0", "0.0", "falsch", "nein"), False),
}
#: Every common spelling by itself: the quick way for files with millions of cells.
SPELLINGS: Final = {
    spelling: truth for word, truth in _WORDS.items() for spelling in (word, word.capitalize(), word.upper())
}


def parse_flag(text: str) -> bool:
    """The truth value that a cell says, in any case and with blanks around it; raises ValueError with a sentence."""
    truth = _WORDS.get(text.strip().lower())
    if truth is None:
        raise ValueError(f"{text!r} is neither true nor false.")
    return truth
