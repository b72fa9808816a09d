"""The embedded PostgreSQL: prepared once, kept, quick to come back, never left behind, and closed to all but its
role."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import psutil
import psycopg2
import pytest

from embedded import addresses, postgres
from embedded.failure import PreparationFailed, ServerUnusable
from shared.process.exit_codes import ExitCode
from shared.process.system_user import SystemUser, as_user, open_way, system_user
from shared.settings import Settings
from tests.support import environment, processes
from tests.support.entry import Entry
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    """A home whose data directory was made once, for copying."""
    made = Path(tempfile.mkdtemp(prefix="bh-"))
    postgres.open_cluster(Settings(bulkhead_home=made), {})
    yield made
    shutil.rmtree(made)


@pytest.fixture
def empty_entry(home: Path) -> Iterator[Entry]:
    """The entry over an empty home, which it has to prepare."""
    with Entry("postgres", home) as opened:
        yield opened


@pytest.fixture
def entry(empty_entry: Entry, prepared: Path) -> Entry:
    """The entry over a prepared home."""
    shutil.copytree(prepared, empty_entry.home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run"))
    return empty_entry


@pytest.fixture
def ask(home: Path) -> Callable[[str], list[tuple[object, ...]]]:
    """Carry out one statement as the role `bulkhead` and return its rows."""

    def ask(statement: str) -> list[tuple[object, ...]]:
        with closing(psycopg2.connect(addresses.database_url(Settings(bulkhead_home=home)))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []

    return ask


Ask = Callable[[str], list[tuple[object, ...]]]


def postmaster(entry: Entry) -> psutil.Process:
    (child,) = psutil.Process(entry.process.pid).children()
    return child


def test_prepared_once_and_kept_over_a_stop(empty_entry: Entry, ask: Ask) -> None:
    empty_entry.start().wait_ready()
    ask("CREATE TABLE kept (word text)")
    ask("INSERT INTO kept VALUES ('still here')")
    assert empty_entry.stop() == ExitCode.OK
    assert "database_created" in empty_entry.log.read_text()
    empty_entry.log.unlink()

    empty_entry.start().wait_ready()
    assert ask("SELECT word FROM kept") == [("still here",)]
    assert empty_entry.stop() == ExitCode.OK
    assert "database_created" not in empty_entry.log.read_text()


def test_the_role_is_no_superuser_and_owns_its_database_with_vectors(entry: Entry, ask: Ask) -> None:
    entry.start().wait_ready()
    assert ask(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM "
        "pg_roles WHERE rolname = current_user"
    ) == [(False,) * 5]
    assert ask("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()") == [
        (addresses.ROLE,)
    ]
    assert ask("SELECT '[1,2]'::vector <-> '[1,2]'::vector") == [(0.0,)]
    assert ask(
        "SELECT current_setting('synchronous_commit'), current_setting('fsync'), current_setting('listen_addresses')"
    ) == [("on", "on", "")]
    entry.stop()


def test_no_other_user_gets_in(entry: Entry, home: Path) -> None:
    entry.start().wait_ready()
    socket_dir = addresses.postgres_socket_dir(Settings(bulkhead_home=home))
    strangers = [("postgres", "anything"), (addresses.ROLE, "wrong"), (addresses.ROLE, "")]
    for (role, password), database in itertools.product(strangers, [addresses.DATABASE, "postgres"]):
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(host=str(socket_dir), user=role, password=password, dbname=database)
    entry.stop()


def test_secrets_are_for_the_owner_only_and_shown_nowhere(entry: Entry, home: Path) -> None:
    entry.start().wait_ready()
    password = addresses.postgres_password(Settings(bulkhead_home=home))
    assert len(password) == 64
    assert stat.S_IMODE((home / "postgres_password").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "postgres").stat().st_mode) == 0o700
    for pid, command in entry.descendants().items():
        assert password not in command
        assert password not in str(processes.environ_of(pid))
    entry.stop()
    assert password not in entry.log.read_text()


def test_statements_and_values_do_not_reach_the_log(entry: Entry, ask: Ask) -> None:
    entry.start().wait_ready()
    ask("CREATE TABLE chats (phone text PRIMARY KEY)")
    ask("INSERT INTO chats VALUES ('491700000001')")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        ask("INSERT INTO chats VALUES ('491700000001')")
    entry.stop()
    assert "duplicate key" in entry.log.read_text()
    assert "491700000001" not in entry.log.read_text()


def test_the_server_runs_as_a_user_without_rights(entry: Entry) -> None:
    entry.start().wait_ready()
    server = postmaster(entry)
    owner = pwd.getpwuid(server.uids().real)
    assert set(server.uids()) == {owner.pw_uid}
    assert owner.pw_uid != 0
    if os.geteuid() == 0:
        assert owner.pw_name in (postgres.ACCOUNT, "nobody")
        assert set(server.gids()) == {owner.pw_gid}
        assert "Groups:\t \n" in Path(f"/proc/{server.pid}/status").read_text()
    else:
        assert owner.pw_uid == os.geteuid()
    entry.stop()


def test_nothing_but_the_known_environment_reaches_the_server(entry: Entry, home: Path) -> None:
    entry.start().wait_ready()
    seen = processes.environ_of(postmaster(entry).pid)
    assert seen.keys() >= {"BULKHEAD_HOME", "PROCESS_NAME", "PROCESS_INSTANCE", "PROCESS_INCARNATION"}
    assert seen["BULKHEAD_HOME"] == str(home)
    assert seen.keys() <= {
        "BULKHEAD_HOME",
        "PROCESS_NAME",
        "PROCESS_INSTANCE",
        "PROCESS_INCARNATION",
        "PATH",
        "LC_ALL",
        "TZ",
        "PGDATA",
        "PGLOCALEDIR",
        "PGSYSCONFDIR",
    }
    entry.stop()


def test_killed_wrapper_takes_the_server_with_it_and_nothing_committed_is_lost(entry: Entry, ask: Ask) -> None:
    entry.start().wait_ready()
    ask("CREATE TABLE kept (number int)")
    ask("INSERT INTO kept SELECT generate_series(1, 20000)")
    before = entry.descendants()
    assert len(before) > 3
    entry.process.kill()
    assert entry.wait_exit(within_s=10) == -signal.SIGKILL
    eventually(lambda: not any(map(processes.is_alive, before)), 5, lambda: f"all of {before} are gone")
    entry.start().wait_ready()
    assert ask("SELECT count(*) FROM kept") == [(20000,)]
    assert entry.stop() == ExitCode.OK


def test_killed_server_is_a_crash_and_leaves_nothing(entry: Entry) -> None:
    entry.start().wait_ready()
    before = entry.descendants()
    postmaster(entry).kill()
    assert entry.wait_exit() == ExitCode.CRASH
    assert not any(map(processes.is_alive, before))
    assert '"event": "server_exited"' in entry.log.read_text()


def test_one_killed_backend_is_the_servers_own_business(entry: Entry, ask: Ask, home: Path) -> None:
    entry.start().wait_ready()
    with closing(psycopg2.connect(addresses.database_url(Settings(bulkhead_home=home)))) as victim:
        os.kill(victim.get_backend_pid(), signal.SIGKILL)
        eventually(
            lambda: ask("SELECT 1") == [(1,)], 10, "the server answers again", ignoring=(psycopg2.OperationalError,)
        )
    assert entry.process.poll() is None
    assert entry.stop() == ExitCode.OK


def test_a_frozen_server_is_reported_not_killed_and_welcomed_back(entry: Entry) -> None:
    entry.start().wait_ready()
    server = postmaster(entry)
    server.suspend()
    entry.forget()
    entry.wait_said("X_READY", "0")
    # The wrapper itself goes on saying that it lives, and does not say that it is ready.
    entry.forget()
    entry.wait_said("WATCHDOG", "1")
    assert all("READY" not in said for said in entry.listen())
    server.resume()
    entry.wait_said("READY", "1")
    assert postmaster(entry).pid == server.pid
    assert entry.stop() == ExitCode.OK
    assert '"event": "server_responsive"' in entry.log.read_text()


def test_stop_ends_open_transactions_in_order(entry: Entry, home: Path) -> None:
    entry.start().wait_ready()
    with closing(psycopg2.connect(addresses.database_url(Settings(bulkhead_home=home)))) as client:
        client.cursor().execute("CREATE TABLE never_committed ()")
        assert entry.stop() == ExitCode.OK
    assert any(said.get("STOPPING") == "1" for said in entry.listen())


def test_a_second_request_means_now(entry: Entry) -> None:
    entry.start().wait_ready()
    server = postmaster(entry)
    server.suspend()
    entry.process.terminate()
    entry.wait_said("STOPPING", "1")
    entry.process.terminate()
    assert entry.wait_exit(within_s=15) == ExitCode.DRAIN_DEADLINE
    assert not processes.is_alive(server.pid)


def test_a_second_copy_leaves_and_the_first_goes_on(entry: Entry, home: Path, ask: Ask) -> None:
    entry.start().wait_ready()
    second = subprocess.run(
        [sys.executable, "proc_postgres.py"],
        cwd=environment.REPOSITORY,
        env=environment.clean(bulkhead_home=home),
        check=False,
        timeout=30,
        capture_output=True,
    )
    assert second.returncode == ExitCode.SLOT_TAKEN
    assert ask("SELECT 1") == [(1,)]
    assert entry.stop() == ExitCode.OK


def test_an_interrupted_first_start_is_done_again(empty_entry: Entry, home: Path, ask: Ask) -> None:
    unfinished = home / "postgres.new" / "base"
    unfinished.mkdir(parents=True)
    (unfinished / "half").write_text("a file")
    empty_entry.start().wait_ready()
    assert ask("SELECT 1") == [(1,)]
    assert not (home / "postgres.new").exists()
    empty_entry.stop()


def test_asked_to_stop_while_preparing_it_leaves_in_order(empty_entry: Entry) -> None:
    empty_entry.start()
    empty_entry.wait_said("X_DOING", "preparing the server")
    assert empty_entry.stop() == ExitCode.OK
    empty_entry.start().wait_ready()
    assert empty_entry.stop() == ExitCode.OK


def test_a_lost_password_file_is_made_anew(entry: Entry, home: Path, ask: Ask) -> None:
    entry.start().wait_ready()
    first = addresses.postgres_password(Settings(bulkhead_home=home))
    entry.stop()
    (home / "postgres_password").unlink()
    entry.start().wait_ready()
    assert addresses.postgres_password(Settings(bulkhead_home=home)) != first
    assert ask("SELECT 1") == [(1,)]
    entry.stop()


@contextmanager
def a_strangers() -> Iterator[int]:
    """As after the restart of a container, where pids begin anew: another process has the dead server's."""
    yield os.getpid()


@contextmanager
def of_one_not_taken_away() -> Iterator[int]:
    """As after the death of the wrapper too: the process that inherited the dead server has not waited for it. It
    belongs to the server's user."""
    with subprocess.Popen(["true"], **as_user(system_user(postgres.ACCOUNT))) as dead:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        yield dead.pid


@pytest.mark.parametrize("pid_of", [a_strangers, of_one_not_taken_away])
def test_stale_lock_files_do_not_stop_a_start(
    entry: Entry, home: Path, ask: Ask, pid_of: Callable[[], AbstractContextManager[int]]
) -> None:
    entry.start().wait_ready()
    lock_files = (
        home / "postgres" / "postmaster.pid",
        addresses.postgres_socket_dir(Settings(bulkhead_home=home)) / ".s.PGSQL.5432.lock",
    )
    lines = {file: file.read_text().splitlines() for file in lock_files}
    entry.process.kill()
    entry.wait_exit()
    with pid_of() as pid:
        for file in lock_files:
            file.write_text("\n".join([str(pid), *lines[file][1:]]) + "\n")
        entry.start().wait_ready()
        assert ask("SELECT 1") == [(1,)]
        assert entry.stop() == ExitCode.OK


def test_another_users_process_is_no_server_of_ours() -> None:
    """Without root no process may see where it works."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        # where everything runs as one user, it may
        assert postgres._folder_of(1) in (None, Path("/"))
    finally:
        os.seteuid(before)


def test_data_served_without_the_slot_is_left_alone(home: Path) -> None:
    data = home / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text(postgres.MAJOR)
    squatter = subprocess.Popen(
        [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
        cwd=data,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with squatter:
        assert squatter.stdout is not None
        squatter.stdout.readline()
        (data / "postmaster.pid").write_text(f"{squatter.pid}\n")
        with pytest.raises(PreparationFailed, match=f"process {squatter.pid} already serves"):
            postgres.open_cluster(Settings(bulkhead_home=home), {})
        assert (data / "postmaster.pid").exists()
        squatter.communicate()


def test_data_of_another_major_version_is_a_configuration_error(empty_entry: Entry, home: Path) -> None:
    (home / "postgres").mkdir()
    (home / "postgres" / "PG_VERSION").write_text("15\n")
    empty_entry.start()
    assert empty_entry.wait_exit() == ExitCode.CONFIGURATION
    assert "was written by PostgreSQL 15" in empty_entry.log.read_text()


def test_a_wrong_setting_is_a_configuration_error(home: Path) -> None:
    with Entry("postgres", home, log_level="loud") as entry:
        entry.start()
        assert entry.wait_exit() == ExitCode.CONFIGURATION
        assert "LOG_LEVEL='loud'" in entry.log.read_text()


def test_a_server_that_cannot_start_is_a_boot_failure(entry: Entry, home: Path) -> None:
    entry.start().wait_ready()
    entry.stop()
    (home / "postgres" / "global" / "pg_control").rename(home / "pg_control")
    entry.start()
    assert entry.wait_exit() == ExitCode.BOOT


def test_a_failed_command_is_reported_without_its_input(home: Path) -> None:
    cluster = postgres.open_cluster(Settings(bulkhead_home=home), {})
    statements = home / "wrong.sql"
    statements.write_text("ALTER ROLE nobody_there PASSWORD '$password';\n")
    with pytest.raises(PreparationFailed, match="nobody_there") as failure:
        cluster.alone(postgres.MAINTENANCE_DATABASE, statements, password="hush")
    assert "hush" not in str(failure.value)


def test_folders_are_opened_for_search_only_and_only_where_needed(tmp_path: Path) -> None:
    shut, already = tmp_path / "shut", tmp_path / "shut" / "already"
    already.mkdir(parents=True)
    shut.chmod(0o700)
    already.chmod(0o755)
    target = already / "postgres"
    open_way(target, SystemUser("somebody", 54321, 54321), home=already)
    assert stat.S_IMODE(shut.stat().st_mode) == 0o701
    assert stat.S_IMODE(already.stat().st_mode) == 0o755


def test_without_useradd_the_server_shares_a_system_user_and_logs_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    chosen = system_user("bulkhead-nowhere")
    assert chosen is not None
    assert chosen.name == "nobody"
    assert "system_user_shared" in caplog.messages


def test_missing_wheel_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(addresses, "find_spec", lambda _: None)
    with pytest.raises(ServerUnusable, match="DATABASE_URL"):
        postgres.open_cluster(Settings(bulkhead_home=home), {})
