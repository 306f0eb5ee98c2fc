"""Writes ``requirements/*.txt``: every dependency pinned and hashed, no index address. Run by ``make lock``.

torch has its own file (``requirements/torch.txt``) and is pinned by version only: its build, and so its hash, differs
between machines. The packages that come with its CUDA build are left out of the other files.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path("requirements")
#: The contents of each file. The versions in the first one constrain those in the others.
LOCKS = {
    "dev": ["--extra", "embedded", "--group", "dev"],
    "embedded": ["--extra", "embedded"],
    "worker": ["--extra", "worker"],
    "api": [],
    "bench": ["--extra", "worker", "--group", "bench"],
}
OF_TORCH = re.compile(r"^(torch|triton|nvidia-|cuda-)")
HEADER = "# Written by `make lock`. Install with: uv pip install --require-hashes -r {name}\n"


def main() -> int:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    constraints: list[str] = []
    for name, wanted in LOCKS.items():
        text = _compile(["pyproject.toml", *wanted, *constraints])
        if name == "dev":
            torch = next(line for line in text.splitlines() if line.startswith("torch=="))
            (FOLDER / "torch.txt").write_text(torch.split(" ")[0] + "\n")
            constraints = ["--constraints", str(FOLDER / "dev.txt")]
        _write(name, text)
    _write("uv", _compile(["-"], "uv\n"))
    _write("build", _compile(["-"], "hatchling\n"))
    return 0


def _compile(arguments: list[str], text: str | None = None) -> str:
    command = ["uv", "pip", "compile", *arguments, "--universal", "--python-version", "3.11", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--upgrade", "--quiet"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def _write(name: str, text: str) -> None:
    packages = re.split(r"\n(?=\S)", text.strip())
    kept = [package for package in packages if not OF_TORCH.match(package)]
    path = FOLDER / f"{name}.txt"
    path.write_text(HEADER.format(name=path) + "\n".join(kept) + "\n")


if __name__ == "__main__":
    sys.exit(main())
