"""The page of settings agrees with the settings."""

from __future__ import annotations

from tools.document_settings import PAGE, page


def test_the_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.document_settings"
