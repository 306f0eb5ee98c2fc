"""``python -m placerank.worker.liveness FILE``: exits with 1 when the heartbeat file is too old.

The kubelet runs it every few seconds, so it imports almost nothing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

#: On a busy machine several heartbeats may be missed.
OLDEST_S = 30.0


def main(arguments: list[str]) -> int:
    """Return 0 if the file is young enough, 1 with a message if not, and 2 for wrong arguments."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m placerank.worker.liveness FILE\n")
        return 2
    try:
        age = time.time() - Path(arguments[0]).stat().st_mtime
    except OSError as error:
        sys.stderr.write(f"no heartbeat: {error}\n")
        return 1
    if age > OLDEST_S:
        sys.stderr.write(f"the last heartbeat was {age:.0f} s ago\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
