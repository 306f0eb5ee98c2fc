"""The folder of a bundled PostgreSQL: its owner, its lock, and the folder of its socket."""

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

#: Part of the socket's file name; nothing listens on TCP.
PORT: Final = 5432
#: The longest path of a Unix socket that the kernel accepts, in bytes without the closing NUL.
SOCKET_PATH_BYTES: Final = 107 if sys.platform == "linux" else 103
#: Not TMPDIR: it may be long itself (macOS), or the server's account may not enter it.
_TEMPORARY: Final = Path("/tmp")  # noqa: S108


class Folder:
    """``postgresql/`` in the user's data folder, with its contents."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir.absolute() / "postgresql"
        self.data = self.path / "data"
        self.log = self.path / "server.log"
        self._note = self.path / "socket-folder"
        self._lock: int | None = None

    def enter(self, program: Path) -> Account:
        """Create the folder if it is new, else check that it belongs to the account that will run ``program``."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.path.mkdir(0o700)
                if os.geteuid() == 0:
                    # The server's account must be able to enter. Its data below is private; the log and lock are ours.
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
        """The descriptor of the held lock, for a child process that has to hold it too."""
        return () if self._lock is None else (self._lock,)

    def take_lock(self) -> None:
        """Lock the folder until ``leave`` or the end of our process, even by SIGKILL."""
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
        """Release the lock; does nothing if we do not hold it."""
        if self._lock is not None:
            self.remove_temporary()
            os.close(self._lock)
            self._lock = None

    def make_data(self, account: Account, fill: Callable[[Path], None]) -> None:
        """Create the data if there is none, atomically: ``fill`` gets a temporary folder, which is then renamed."""
        if self.data.exists():
            return
        new = self.path / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        account.make_folder(new)
        fill(new)
        new.rename(self.data)

    def socket_folder(self, account: Account) -> Path:
        """A private folder for the socket: next to the data, or a temporary one if that path cannot be used."""
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
        """Remove the temporary socket folder of this start, or of a killed start that has noted it."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._note.read_text(), ignore_errors=True)
            self._note.unlink()

    def rotate_log(self) -> None:
        """Keep the log of the previous start as server.log.1."""
        with contextlib.suppress(FileNotFoundError):
            self.log.replace(self.log.with_name("server.log.1"))

    def open_log(self) -> IO[str]:
        """The log, to be continued; readable only by us, as it may contain statements."""
        return os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a")

    def log_tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])


def _check_owner(path: Path, uid: int) -> None:
    """Refuse a folder of another account, with a clearer message than PostgreSQL's own."""
    owner = path.stat().st_uid
    if owner != uid:
        raise BundledPostgresError(
            f"{path} belongs to user {owner}, but this start needs a folder of user {uid}: it was created by a start "
            "as another user (root or not). Start placerank as that user again, or choose another data folder."
        )


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
