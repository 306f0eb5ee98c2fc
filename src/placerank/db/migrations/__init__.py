"""Revisions of the database, each a file of plain SQL. Imports nothing."""

from typing import Final

#: The newest revision in ``versions``. Revisions sort as text; older code also works with a newer revision.
HEAD: Final = "0003"
