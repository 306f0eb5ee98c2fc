"""Truth values as people and programs write them."""

from __future__ import annotations

from typing import Final

#: PostgreSQL writes t and f, pandas True and 1.0 (or 1,0), people yes and no.
_COMMON: Final = (
    "true t yes y on 1 1.0 1,0 ja j oui si sí sì sim",
    "false f no n off 0 0.0 0,0 nein non não nee",
)
#: Spreadsheets write TRUE and FALSE in their own language: German, French, Spanish, Italian, Portuguese, Dutch, Polish,
#: Czech, Hungarian, Danish, Norwegian, Swedish, Finnish, Turkish, Russian.
_SHEETS: Final = (
    "wahr vrai verdadero vero verdadeiro waar prawda pravda igaz sand sann sant tosi doğru истина",
    "falsch faux falso onwaar fałsz nepravda hamis falsk usann falskt epätosi yanl\u0131ş yanliş ложь",
)
_WORDS: Final = {
    word: truth
    for spellings in (_COMMON, _SHEETS)
    for truth, words in zip((True, False), spellings, strict=True)
    for word in words.split()
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
