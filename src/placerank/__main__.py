"""``python -m placerank``."""

from placerank.cli import main

main()
