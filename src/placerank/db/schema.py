"""Which schema this code needs."""

from typing import Final

#: The newest revision in ``migrations/versions``; revisions sort as text, and a newer schema serves older code.
HEAD: Final = "0002"
