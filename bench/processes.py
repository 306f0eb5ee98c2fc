"""What trees of processes cost, read from ``/proc``: processor seconds and memory."""

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
    """A tree at one moment: seconds of user and system time ever used, MiB resident (shared pages count each time)."""

    cpu_s: float
    rss_mib: float


def usage(roots: Mapping[str, int]) -> dict[str, Usage]:
    """The usage of each root with all of its descendants, also of those that have ended and were waited for."""
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
    """Processor seconds of each root's living tree to the microsecond, for processes that do next to nothing."""
    return {name: sum(_running_s(pid) for pid in descendants(root)) for name, root in roots.items()}


def descendants(root: int) -> list[int]:
    """The process and everything below it."""
    children: dict[int, list[int]] = {}
    for pid, stat in _stats().items():
        children.setdefault(stat.parent, []).append(pid)
    return list(_tree(root, children))


def naming(text: str) -> list[int]:
    """The processes whose command line holds the text, this one left out."""
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
    """Whether the process runs; one that only waits to be waited for does not."""
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
        # proc(5): state, ppid, … utime, stime, cutime, cstime as 14 to 17, rss as 24; the first two are cut off.
        stats[int(folder.name)] = _Stat(int(fields[1]), sum(map(int, fields[11:15])), int(fields[21]))
    return stats


def _running_s(pid: int) -> float:
    """Seconds that the threads of a process have run (the first field of ``schedstat``, in nanoseconds)."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except OSError:
        return 0.0  # it has ended in between


def _folders() -> Iterator[Path]:
    return (folder for folder in Path("/proc").iterdir() if folder.name.isdecimal())


def _fields(folder: Path) -> list[str]:
    """The fields of ``stat`` after the command, which may hold anything, parentheses and spaces too."""
    return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
