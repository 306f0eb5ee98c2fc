"""What a setting has to be if it is set at all: one that guards something and holds nothing usable guards nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from pydantic import BaseModel, SecretStr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class IfSet:
    """Marks a setting: ``check`` gets its text unless it is the default, and raises ``ValueError`` with a sentence."""

    check: Callable[[str], None]


def not_blank(text: str) -> None:
    """Refuse nothing and blanks."""
    if not text.strip():
        raise ValueError("it is set, but blank; give it a value or remove it")


def not_spaces(text: str) -> None:
    """Refuse blanks; nothing at all is a value."""
    if text:
        not_blank(text)


def names_a_file(text: str) -> None:
    """Refuse what cannot be the name of a file."""
    if not PurePath(text).name.strip():
        raise ValueError("it is set, but names no file; give it a name or remove it")


def unusable(settings: BaseModel) -> Iterator[tuple[tuple[str, ...], str]]:
    """The settings of all groups that are set and not usable: the path of each, and what is wrong."""
    for group in settings.model_fields_set:
        found = getattr(settings, group)
        if isinstance(found, BaseModel):
            yield from (((group, name), problem) for name, problem in _problems(found))


def _problems(group: BaseModel) -> Iterator[tuple[str, str]]:
    for name, field in type(group).model_fields.items():
        markers = [marker for marker in field.metadata if isinstance(marker, IfSet)]
        for marker in markers if name in group.model_fields_set else []:
            try:
                marker.check(_text(getattr(group, name)))
            except ValueError as error:
                yield name, str(error)


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
