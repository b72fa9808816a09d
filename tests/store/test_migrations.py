"""Migrations beside a single-process server that goes on, migrations that were edited, and the way back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest
from psycopg2 import sql

from shared.errors import MigrationRefused
from shared.process.exit_codes import ExitCode
from shared.store import migrate
from shared.store.migrate import MigrationState
from shared.store.migration_losses import Loss, dropped
from tests.store.env import JOIN_S, StoreEnv
from tests.store.test_schema import NAMES, OURS
from tests.support import environment
from tests.support.database import query
from tests.support.waiting import eventually, joined

OLD_TABLES = Path(__file__).with_name("data") / "old_server.sql"
CONFIGS = "SELECT * FROM public.phone_configs ORDER BY id"
STATUS = "SELECT * FROM public.phone_status ORDER BY id"
COLUMNS = """
    SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'
    ORDER BY 1, 2
"""
OBJECTS = """
    SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1
"""


class OldServer:
    """A single-process server's writes, one after the other and each on its own, until it is stopped."""

    def __init__(self, url: str) -> None:
        self._url, self._stopped = url, threading.Event()
        self.writes = 0
        self.errors: list[psycopg2.Error] = []
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> OldServer:
        self._thread.start()
        eventually(lambda: self.writes > 3, JOIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        joined(self._thread, JOIN_S)

    def goes_on(self) -> None:
        """Wait for writes that begin from now on."""
        before = self.writes
        eventually(lambda: self.writes > before + 3, JOIN_S)

    def _serve(self) -> None:
        with closing(psycopg2.connect(self._url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while not self._stopped.is_set():
                try:
                    cursor.execute(
                        """INSERT INTO phone_status (company_id, phone_index, status) VALUES ('acme', 2, %(status)s)
                           ON CONFLICT (company_id, phone_index) DO UPDATE
                           SET status = excluded.status, last_seen = now()""",
                        {"status": f"try {self.writes}"},
                    )
                    cursor.execute("SELECT * FROM phone_configs WHERE company_id = 'acme' AND phone_index = 2")
                    assert len(cursor.fetchall()) == 1
                    cursor.execute("INSERT INTO contacts (company_id, phone) VALUES ('acme', '15550100209')")
                except psycopg2.Error as error:
                    self.errors.append(error)
                self.writes += 1


@pytest.fixture
def old_url(empty_database_url: str) -> str:
    """A database of a single-process server."""
    query(empty_database_url, OLD_TABLES.read_text(encoding="utf-8"))
    return empty_database_url


def by_connection(rows: list[Mapping[str, Any]]) -> dict[tuple[str, int], str | None]:
    return {(row["company_id"], row["phone_index"]): row["process_name"] for row in rows}


class TestBesideTheOldServer:
    def test_up_and_back_while_it_goes_on(self, old_url: str) -> None:
        columns, objects, configs = (query(old_url, statement) for statement in (COLUMNS, OBJECTS, CONFIGS))
        with OldServer(old_url) as server:
            assert migrate.apply(old_url) == NAMES
            server.goes_on()
            # ours are in their own schema, and every connection of ours finds them
            env = StoreEnv(old_url)
            (row,) = env.accept("a")
            assert query(old_url, "SELECT state FROM bulkhead_tables.messages WHERE id = %(id)s", id=row) == [
                {"state": "queued"}
            ]
            assert env.store.as_company("acme").run(
                lambda t: t.row("connection_by_index", company_id="acme", phone_index=0)
            )
            env.close()
            # theirs have the kind, those that are written from now on too
            served = {("acme", 0): "meta", ("acme", 1): "webdriver", ("acme", 2): "meta", ("globex", 0): "meta"}
            assert by_connection(query(old_url, CONFIGS)) == served | {("globex", 1): None}
            assert by_connection(query(old_url, STATUS)) == served
            query(old_url, "UPDATE phone_configs SET connection_type = 'wwebjs' WHERE company_id = 'globex'")
            assert by_connection(query(old_url, CONFIGS))["globex", 1] == "webdriver"
            query(old_url, "UPDATE phone_configs SET connection_type = 'meta_embedded' WHERE company_id = 'globex'")
            query(
                old_url,
                "UPDATE phone_configs SET connection_type = 'pigeon' WHERE company_id = 'globex' AND phone_index = 1",
            )
            for table in ("phone_configs", "phone_status"):
                indexes = query(
                    old_url,
                    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = %(table)s",
                    table=table,
                )
                assert [row for row in indexes if "(process_name, status)" in row["indexdef"]]
            assert migrate.apply(old_url) == migrate.pending(old_url) == []

            names = [rollback.name for rollback in migrate.rollbacks(old_url, len(NAMES))]
            migrate.undo(old_url, names)
            server.goes_on()
        assert server.errors == []
        assert query(old_url, COLUMNS) == columns
        assert query(old_url, OBJECTS) == objects
        assert query(old_url, CONFIGS) == configs
        assert migrate.apply(old_url) == NAMES

    @pytest.mark.parametrize("tables", [("phone_status", "phone_configs"), ("phone_configs", "phone_status")])
    def test_a_transaction_of_it_that_holds_one_table_gets_the_other(
        self, old_url: str, tables: tuple[str, str]
    ) -> None:
        """Without that, the database ends one of the two for a deadlock: the server's write, or the migration."""

        def waits_for_a_table() -> bool:
            waiting = """SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                         WHERE NOT l.granted AND c.relname IN ('phone_configs', 'phone_status')"""
            return bool(query(old_url, waiting))

        def undo_all() -> None:
            migrate.undo(old_url, [one.name for one in migrate.rollbacks(old_url, len(NAMES))])

        steps: list[Callable[[], object]] = [lambda: migrate.apply(old_url), undo_all]
        for step in steps:
            with (
                closing(psycopg2.connect(old_url)) as connection,
                connection,
                connection.cursor() as cursor,
                ThreadPoolExecutor(1) as pool,
            ):
                # what each write takes first; one that is whole has read the other table by the trigger
                cursor.execute(f"LOCK TABLE {tables[0]} IN ROW EXCLUSIVE MODE")
                migrating = pool.submit(step)
                eventually(waits_for_a_table, JOIN_S)
                cursor.execute(f"UPDATE {tables[1]} SET company_id = company_id")
                connection.commit()
                migrating.result(JOIN_S)

    def test_what_the_server_changes_later_fails_no_write_of_it(self, old_url: str) -> None:
        migrate.apply(old_url)
        query(old_url, "ALTER TABLE phone_configs RENAME COLUMN connection_type TO type")
        query(old_url, "UPDATE phone_configs SET status = 'active'; UPDATE phone_status SET status = 'connected'")
        assert {row["status"] for row in query(old_url, STATUS)} == {"connected"}

    def test_a_user_without_the_rights_gets_the_statement_that_gives_them(self, old_url: str) -> None:
        role = sql.Identifier(f"newcomer_{os.getpid()}")
        query(old_url, sql.SQL("CREATE ROLE {0} NOLOGIN; GRANT {0} TO CURRENT_USER").format(role))
        url = f"{old_url}{'&' if '?' in old_url else '?'}options={quote(f'-c role={role.string}')}"
        database = sql.Identifier(query(old_url, "SELECT current_database() AS name")[0]["name"])
        try:
            with pytest.raises(MigrationRefused, match="run CREATE SCHEMA bulkhead_tables AUTHORIZATION newcomer"):
                migrate.apply(url)
            query(old_url, sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, role))
            with pytest.raises(MigrationRefused, match="may not add a column to it: let an administrator run GRANT"):
                migrate.apply(url)
        finally:
            query(old_url, sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))

    def test_a_table_that_is_no_such_servers_is_refused_until_an_administrator_has_made_the_schema(
        self, old_url: str
    ) -> None:
        query(old_url, "ALTER TABLE phone_configs RENAME COLUMN company_id TO keeper")
        columns = query(old_url, COLUMNS)
        with pytest.raises(MigrationRefused, match=r"no single-process server's \(numbers: no column for company_id\)"):
            migrate.apply(old_url)
        assert query(old_url, "SELECT to_regnamespace('bulkhead_tables') AS made") == [{"made": None}]
        assert query(old_url, COLUMNS) == columns
        query(old_url, "CREATE SCHEMA bulkhead_tables")
        assert migrate.apply(old_url) == NAMES


class TestEdited:
    @pytest.fixture
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """Migrations that a test may edit."""
        for path in migrate.migrations_directory().glob("*.sql"):
            tmp_path.joinpath(path.name).write_text(path.read_text())
        monkeypatch.setattr(migrate, "migrations_directory", lambda: tmp_path)
        yield tmp_path

    def test_an_edited_migration_is_refused_with_its_name(self, database_url: str, files: Path) -> None:
        assert migrate.apply(database_url) == []
        edited = files / f"{NAMES[2]}.sql"
        before = edited.read_text()
        edited.write_text(before + "\n-- and one more thing\n")
        for call in (migrate.apply, lambda url: migrate.rollbacks(url, 1)):
            with pytest.raises(MigrationRefused, match=f"migration {NAMES[2]} was edited after it was applied"):
                call(database_url)
        assert {n.name for n in migrate.notes(database_url) if n.state is MigrationState.EDITED} == {NAMES[2]}
        edited.write_text(before)
        assert migrate.apply(database_url) == []

    def test_one_that_was_undone_by_hand_may_be_edited(self, database_url: str, files: Path) -> None:
        newest = files / "9999.newest.sql"
        newest.write_text(f"-- depends: {NAMES[-1]}\nCREATE TABLE newest (id int);\n")
        assert migrate.apply(database_url) == ["9999.newest"]
        query(database_url, "DROP TABLE newest; DELETE FROM _yoyo_migration WHERE migration_id = '9999.newest'")
        newest.write_text(f"-- depends: {NAMES[-1]}\nCREATE TABLE newest (id bigint);\n")
        assert migrate.apply(database_url) == ["9999.newest"]
        assert migrate.apply(database_url) == []

    def test_a_migration_of_another_version_is_left_to_that_version(self, database_url: str, files: Path) -> None:
        files.joinpath("9999.newer.sql").write_text(f"-- depends: {NAMES[-1]}\nCREATE TABLE newer (id int);\n")
        assert migrate.apply(database_url) == ["9999.newer"]
        files.joinpath("9999.newer.sql").unlink()
        assert migrate.apply(database_url) == []
        assert migrate.notes(database_url)[-1].state is MigrationState.UNKNOWN
        with pytest.raises(MigrationRefused, match=r"9999\.newer was applied by another version"):
            migrate.rollbacks(database_url, 1)


class TestBack:
    def test_it_names_what_is_lost_and_asks(self, database_url: str) -> None:
        env = StoreEnv(database_url)
        env.accept("a")
        env.close()
        place = NAMES[::-1].index("0115.alerts") + 1
        query(
            database_url, "INSERT INTO alert_silences (name, until, reason, created_by) VALUES ('x', now(), 'y', 'z')"
        )
        answer = back(database_url, str(place))
        assert (answer.returncode, answer.stdout.splitlines()[-1]) == (1, "Nothing was undone."), answer.stderr
        assert "0115.alerts: table alert_silences with 1 rows" in answer.stdout
        assert "--yes is needed without a terminal" in answer.stderr
        assert migrate.pending(database_url) == []

        answer = back(database_url, str(place), "--yes")
        assert (answer.returncode, answer.stdout.splitlines()[-2]) == (0, "undone 0115.alerts"), answer.stderr
        status = {note.name: note.state for note in migrate.notes(database_url)}
        assert status["0115.alerts"] is MigrationState.PENDING and status[NAMES[0]] is MigrationState.APPLIED
        assert "pending" in back(database_url, words="--status").stdout
        assert migrate.apply(database_url)[0] == "0115.alerts"
        assert len(query(database_url, "SELECT id FROM messages")) == 1
        assert [row["name"] for row in query(database_url, OURS)]

    def test_not_under_processes_that_run(self, env: StoreEnv) -> None:
        query(
            env.url,
            "INSERT INTO process_health (process_name, instance, status, last_heartbeat) "
            "VALUES ('meta', 1, 'healthy', now())",
        )
        answer = back(env.url, "1", "--yes")
        assert answer.returncode == ExitCode.CONFIGURATION
        assert "meta-1): stop them first" in answer.stderr

    def test_more_than_there_are_is_refused(self, env: StoreEnv) -> None:
        with pytest.raises(MigrationRefused, match=f"only {len(NAMES)} migrations are applied"):
            migrate.rollbacks(env.url, len(NAMES) + 1)

    def test_every_migration_has_a_rollback(self) -> None:
        files = {path.name for path in migrate.migrations_directory().glob("*.sql")}
        assert [name for name in NAMES if f"{name}.rollback.sql" not in files] == []


def test_what_a_rollback_drops_is_read_from_it() -> None:
    assert list(
        dropped(
            """-- DROP TABLE not_this;
            DROP TABLE IF EXISTS one, two CASCADE;
            ALTER TABLE three DROP COLUMN a, ADD COLUMN b int, DROP COLUMN IF EXISTS c;
            DELETE FROM four WHERE true;"""
        )
    ) == [
        ("table", "one", ""),
        ("table", "two", ""),
        ("column", "three", "a"),
        ("column", "three", "c"),
        ("rows", "four", ""),
    ]
    assert str(Loss(what="column", name="three.a", rows=1_000_000)) == "column three.a, set in more than 1,000,000 rows"


def back(url: str, *arguments: str, words: str = "--back") -> subprocess.CompletedProcess[str]:
    """Run `migrate --back N`."""
    return subprocess.run(
        [sys.executable, "proc_recorder.py", "--migrate", words, *arguments],
        cwd=environment.REPOSITORY,
        env=environment.clean(database_url=url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
