"""The folder of a bundled PostgreSQL: whose it is, who holds it, and where its socket goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from placerank.postgres.account import Account, BundledPostgresError, account_for
from placerank.postgres.process import PidFile, wait_until

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

#: The socket's name holds it, though nothing listens on TCP.
PORT: Final = 5432
#: The room for a socket's path in the kernel's address, in bytes, without the closing NUL.
SOCKET_PATH_BYTES: Final = 107 if sys.platform == "linux" else 103
#: Not TMPDIR, which may be long itself (macOS) or closed to the server's account.
_TEMPORARY: Final = Path("/tmp")  # noqa: S108


class Folder:
    """``postgresql/`` below the data folder that the user named, with all that stands in it."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir.absolute() / "postgresql"
        self.data = self.path / "data"
        self.log = self.path / "server.log"
        self._note = self.path / "socket-folder"
        self._lock: int | None = None

    def enter(self, program: Path) -> Account:
        """Make the folder where it is new, else see that it is of the account that will run ``program``."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.path.mkdir(0o700)
                if os.geteuid() == 0:
                    # Root's server has to pass; what it owns lies below, private, and the log and lock stay ours.
                    self.path.chmod(0o711)
            _check_owner(self.path, os.geteuid())
            account = account_for(program, self.data)
            for owned in filter(Path.exists, (self.data, self.path / "run")):
                _check_owner(owned, account.uid)
        except OSError as error:
            raise BundledPostgresError(f"PostgreSQL cannot use {self.path}: {error.strerror}.") from error
        return account

    @property
    def lock(self) -> tuple[int, ...]:
        """The held lock, for a child that shall hold it too."""
        return () if self._lock is None else (self._lock,)

    def take_lock(self) -> None:
        """Hold the folder for ourselves until we release it or end, in whatever way."""
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        # While there is no data yet, the holder may be the initdb of a killed process: it ends within seconds.
        if not wait_until(lambda: _locked(handle) or self.data.exists(), 30.0) or not _locked(handle):
            owner = os.pread(handle, 20, 0).decode().strip() or "unknown"
            os.close(handle)
            server = PidFile.read(self.data)
            raise BundledPostgresError(
                f"{self.path} is in use by process {owner}"
                + (f" (its PostgreSQL is process {server.pid})" if server else "")
                + ". Stop that one first, or choose another data folder."
            )
        self._lock = handle
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)

    def leave(self) -> None:
        """Let others have the folder; harmless where we do not hold it."""
        if self._lock is not None:
            self.remove_temporary()
            os.close(self._lock)
            self._lock = None

    def make_data(self, account: Account, fill: Callable[[Path], None]) -> None:
        """Make the data where there is none, beside its place and then renamed: it is there whole or not at all."""
        if self.data.exists():
            return
        new = self.path / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        account.make_folder(new)
        fill(new)
        new.rename(self.data)

    def socket_folder(self, account: Account) -> Path:
        """A private folder for the socket: beside the data, or a temporary one where that path is too long for it."""
        beside = self.path / "run"
        # libpq and the server read commas as lists, and the server's setting is quoted.
        if len(os.fsencode(beside / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_BYTES and not set(str(beside)) & set(',"'):
            if not beside.exists():
                account.make_folder(beside)
            return beside
        temporary = Path(tempfile.mkdtemp(prefix="placerank-socket-", dir=_TEMPORARY))
        self._note.write_text(str(temporary))
        account.own(temporary)
        return temporary

    def remove_temporary(self) -> None:
        """Remove the temporary folder of this start, or of one that was killed and noted it."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._note.read_text(), ignore_errors=True)
            self._note.unlink()

    def new_log(self) -> IO[str]:
        """The log of this start, for us only as statements may stand in it; the one before is kept beside it."""
        with contextlib.suppress(FileNotFoundError):
            self.log.replace(self.log.with_name("server.log.1"))
        return os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a")

    def log_tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])


def _check_owner(path: Path, uid: int) -> None:
    """Refuse a folder of another account: PostgreSQL would, in words that help nobody."""
    owner = path.stat().st_uid
    if owner != uid:
        raise BundledPostgresError(
            f"{path} belongs to user {owner}, and this start needs one of user {uid}: it was made by a start as "
            "another user (root or not). Start placerank as that user again, or choose another data folder."
        )


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
