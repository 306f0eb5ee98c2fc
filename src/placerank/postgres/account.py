"""The account that runs the bundled PostgreSQL: our own, or an unprivileged one if we are root.

PostgreSQL refuses to run as root. No account is created, and the mode of existing folders does not change. If the
account cannot reach the server's files or its data, because a parent folder is private (``/root``), it keeps one of
root's capabilities, which lets it enter such folders.
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

#: The account that we switch to from root: it exists on every Linux and macOS and owns nothing.
UNPRIVILEGED: Final = "nobody"


class BundledPostgresError(PlacerankError):
    """The bundled PostgreSQL cannot run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account that runs the server and owns its folders."""

    uid: int
    gid: int
    #: Whether we are root and have to switch to this account.
    switch: bool
    #: Words before a command that switch to this account; empty where ``Popen`` itself can switch.
    prefix: tuple[str, ...] = ()

    def popen(self, command: Iterable[str | Path], **options: object) -> subprocess.Popen[str]:
        """Start a command as this account, in its own session, so that Ctrl-C in a terminal reaches only us."""
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
    """The account with CAP_DAC_OVERRIDE as its only capability (Docker's default set has it), tested before use."""
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
    """Whether every account may enter all parent folders of a path, and read and execute it if it is a file."""
    folders = {*path.absolute().parents, *path.resolve().parents}
    if not all(folder.stat().st_mode & stat.S_IXOTH for folder in folders if folder.exists()):
        return False
    needed = stat.S_IROTH | stat.S_IXOTH
    return not path.is_file() or path.stat().st_mode & needed == needed


def _environment() -> dict[str, str]:
    """Our environment without libpq's variables, which the server's programs would read, and with the C locale."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}
