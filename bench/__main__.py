"""All benchmarks in one run, on the same services: ``make bench``. Each is also a separate command."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import catalogue, closed_loop, compare, embedded_start, growth, pictures, scoring, start_up


def main() -> int:
    """Runs all benchmarks; returns 1 if one of them found an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--travellers", default="1,8,64,300,1000", help="concurrent travellers")
    parser.add_argument("--modes", default="poll,wait,call")
    parser.add_argument("--rows", default="1000000", help="inferences that the growth benchmark adds")
    options = parser.parse_args()
    with ExitStack() as stack:
        state = closed_loop.STATE
        if not state.exists():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="placerank-bench-"))
            state = stack.enter_context(closed_loop.started(Path(folder)))
        with_state = ["--state", str(state)]
        failed = [
            start_up.main(with_state),
            closed_loop.main(["--travellers", options.travellers, "--modes", options.modes, *with_state]),
            compare.main(with_state),
            # After the other loads: the rows that it adds stay in the database.
            growth.main(["--rows", options.rows, *with_state]),
            embedded_start.main(with_state),
        ]
    # After the services have ended: these measure the machine itself. torch.compile needs a C++ compiler.
    compiled = ["--compile"] if shutil.which("c++") else []
    failed += [scoring.main(compiled), catalogue.main([])]
    pictures.main()
    return int(any(failed))


if __name__ == "__main__":
    sys.exit(main())
