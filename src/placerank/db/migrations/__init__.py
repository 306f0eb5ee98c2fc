"""Revisions of the database, each a file of plain SQL. Imports nothing."""

from typing import Final

#: The newest revision in ``versions``. Revisions sort as text; a newer revision also serves older code.
HEAD: Final = "0003"
