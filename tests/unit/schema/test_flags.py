from __future__ import annotations

import pytest

from placerank.schema.flags import SPELLINGS, parse_flag


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "TRUE",
        " True ",
        "t",
        "T",
        "yes",
        "Yes",
        "y",
        "on",
        "1",
        "1.0",
        "WAHR",
        "1,0",
        "oui",
        "VRAI",
        "Sí",
        "VERDADERO",
        "PRAWDA",
        "\u0418\u0421\u0422\u0418\u041d\u0410",
    ],
)
def test_true(text: str) -> None:
    assert parse_flag(text) is True
    assert SPELLINGS[text.strip()] is True


@pytest.mark.parametrize(
    "text",
    [
        "false",
        "FALSE",
        "False\t",
        "f",
        "F",
        "no",
        "NO",
        "n",
        "off",
        "0",
        "0.0",
        "FALSCH",
        "0,0",
        "non",
        "FAUX",
        "FALSO",
        "FAŁSZ",
        "YANLI\u015e",
        "\u041b\u041e\u0416\u042c",
    ],
)
def test_false(text: str) -> None:
    assert parse_flag(text) is False
    assert SPELLINGS[text.strip()] is False


@pytest.mark.parametrize("text", ["", " ", "maybe", "2", "-1", "null", "truee", "0.5", "\uff54rue"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither true nor false"):
        parse_flag(text)
