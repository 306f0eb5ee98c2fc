"""Who runs the bundled PostgreSQL: ourselves, or an account without rights when we are root, which PostgreSQL refuses.

No account is made and the mode of no existing folder changes. Where the account could not reach the server's files or
its data, because a folder above them is private (``/root``), it keeps one capability of root's, to pass such folders.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from placerank.errors import PlacerankError

if sys.platform != "win32":
    import pwd

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: The account for root's server: it exists on every Linux and macOS and owns nothing.
UNPRIVILEGED: Final = "nobody"


class BundledPostgresError(PlacerankError):
    """The bundled PostgreSQL cannot run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account of a server: how commands become its, and what it owns."""

    uid: int
    gid: int
    #: Whether we are root and have to become this account.
    switch: bool
    #: What goes before a command so that it runs as this account; empty where the system call alone does it.
    prefix: tuple[str, ...] = ()

    def popen(self, command: Iterable[str | Path], **options: object) -> subprocess.Popen[str]:
        """Start a command as this account, in a session of its own, so that Ctrl-C in a terminal reaches only us."""
        if self.switch and not self.prefix:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        options = {"cwd": "/", "env": _environment(), "stdin": subprocess.DEVNULL, "text": True} | options
        argv = [*self.prefix, *map(str, command)]
        return subprocess.Popen(argv, start_new_session=True, **options)  # type: ignore[call-overload,no-any-return]

    def make_folder(self, path: Path) -> None:
        """Make a folder that only this account may enter."""
        path.mkdir(0o700)
        self.own(path)

    def own(self, path: Path) -> None:
        """Give a folder that we have just made to this account."""
        if self.switch:
            os.chown(path, self.uid, self.gid)


def account_for(program: Path, data: Path) -> Account:
    """The account that runs ``program`` on ``data``; raises BundledPostgresError where there is none."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise BundledPostgresError(
            f"PostgreSQL does not run as root, and there is no account {UNPRIVILEGED!r} to run it as. "
            "Start placerank as an ordinary user."
        ) from None
    if _open_to_all(program) and _open_to_all(data):
        return Account(entry.pw_uid, entry.pw_gid, switch=True)
    return _with_passage(program, data, entry.pw_uid, entry.pw_gid)


def _with_passage(program: Path, data: Path, uid: int, gid: int) -> Account:
    """The account with CAP_DAC_OVERRIDE as its only capability (Docker's default set has it), tried before use."""
    reason = "setpriv (util-linux) is not installed"
    if setpriv := shutil.which("setpriv"):
        ids = (f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
        capability = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
        account = Account(uid, gid, switch=True, prefix=(setpriv, *ids, *capability, "--"))
        trial = account.popen([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        reason = trial.communicate()[0].strip()
        if trial.returncode == 0:
            return account
    raise BundledPostgresError(
        f"PostgreSQL does not run as root, and the account {UNPRIVILEGED!r} cannot reach {program} or {data}: "
        f"a folder above them is private ({reason}). Start placerank as an ordinary user, or use folders that "
        "everybody may enter."
    )


def _open_to_all(path: Path) -> bool:
    """Whether any account may pass all folders above a path, and read and run the path itself where it is a file."""
    folders = {*path.absolute().parents, *path.resolve().parents}
    if not all(folder.stat().st_mode & stat.S_IXOTH for folder in folders if folder.exists()):
        return False
    needed = stat.S_IROTH | stat.S_IXOTH
    return not path.is_file() or path.stat().st_mode & needed == needed


def _environment() -> dict[str, str]:
    """Ours without libpq's variables, which the server's programs would obey; the C locale also for its messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}
