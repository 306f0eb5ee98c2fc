"""CPU time and memory of process trees, read from ``/proc``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    ticks: int
    pages: int


@dataclass(frozen=True, slots=True)
class Usage:
    """A process tree at one moment: CPU seconds so far (user and system), sum of the processes' resident MiB."""

    cpu_s: float
    rss_mib: float


def usage(roots: Mapping[str, int]) -> dict[str, Usage]:
    """The usage of each root with its descendants; the CPU time includes ended children that were waited for."""
    stats = _stats()
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    found = {}
    for name, root in roots.items():
        tree = [stats[pid] for pid in _tree(root, children) if pid in stats]
        found[name] = Usage(sum(stat.ticks for stat in tree) / _TICKS, sum(stat.pages for stat in tree) * _PAGE / _MIB)
    return found


def precise_cpu_s(roots: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of each root's living tree, to the microsecond: precise enough for idle processes."""
    return {name: sum(_running_s(pid) for pid in descendants(root)) for name, root in roots.items()}


def descendants(root: int) -> list[int]:
    """The process and all of its descendants."""
    children: dict[int, list[int]] = {}
    for pid, stat in _stats().items():
        children.setdefault(stat.parent, []).append(pid)
    return list(_tree(root, children))


def naming(text: str) -> list[int]:
    """The processes whose command line contains the text, without this process."""
    found = []
    for folder in _folders():
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in command and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return _fields(Path(f"/proc/{pid}"))[0] not in {"Z", "X"}
    except OSError:
        return False


def _tree(root: int, children: Mapping[int, list[int]]) -> Iterator[int]:
    yield root
    for child in children.get(root, ()):
        yield from _tree(child, children)


def _stats() -> dict[int, _Stat]:
    stats = {}
    for folder in _folders():
        try:
            fields = _fields(folder)
        except OSError:
            continue  # it has ended in between
        # proc(5): utime, stime, cutime, cstime are fields 14 to 17, rss is 24. The first two fields are cut off here.
        stats[int(folder.name)] = _Stat(int(fields[1]), sum(map(int, fields[11:15])), int(fields[21]))
    return stats


def _running_s(pid: int) -> float:
    """Seconds for which the threads of a process have run (first field of ``schedstat``, in nanoseconds)."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except OSError:
        return 0.0  # it has ended in between


def _folders() -> Iterator[Path]:
    return (folder for folder in Path("/proc").iterdir() if folder.name.isdecimal())


def _fields(folder: Path) -> list[str]:
    """The fields of ``stat`` after the command name, which may contain parentheses and spaces."""
    return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
