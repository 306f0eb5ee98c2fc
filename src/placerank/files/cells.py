"""The cells of a traveller, as people, spreadsheets and databases write them. Each function raises ValueError."""

from __future__ import annotations

import json
import re
from datetime import date
from math import isfinite
from typing import Final

from placerank.files.problems import shown

#: ISO 8601, which pandas and DuckDB may write with the time of midnight.
_ISO_DATE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[ T]00:00(?::00(?:\.0+)?)?)?", re.ASCII)
#: As spreadsheets of German and many other countries write it. With slashes nobody can tell day and month apart.
_DOTTED_DATE: Final = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", re.ASCII)


def parse_number(cell: str) -> float:
    """A finite number."""
    value = float(cell)
    if not isfinite(value):
        raise ValueError(f"{shown(cell)} is not a finite number.")
    return value


def parse_integer(cell: str) -> int:
    """A whole number, also written as 3.0."""
    try:
        return int(cell)
    except ValueError:
        value = parse_number(cell)
    if not value.is_integer():
        raise ValueError(f"{shown(cell)} is not a whole number.")
    return int(value)


def parse_ages(cell: str) -> list[int]:
    """A list of ages: JSON, or an array of PostgreSQL such as {41,38}."""
    text = cell.strip()
    if text.startswith("{") and text.endswith("}"):
        text = f"[{text[1:-1]}]"
    try:
        ages = json.loads(text)
    except (ValueError, RecursionError):
        ages = None
    if type(ages) is list and all(type(age) is int for age in ages):
        return ages
    raise ValueError(f"{shown(cell)} is not a list of ages such as [41, 38].")


def parse_date(cell: str) -> date:
    """A date: 2027-07-03, or 03.07.2027."""
    text = cell.strip()
    if iso := _ISO_DATE.fullmatch(text):
        return date(*map(int, iso.groups()))
    if dotted := _DOTTED_DATE.fullmatch(text):
        day, month, year = map(int, dotted.groups())
        return date(year, month, day)
    raise ValueError(f"{shown(cell)} is not a date written YYYY-MM-DD.")
