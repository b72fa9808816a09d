"""The schema: applied once the process that starts and dies when, emptied by its rollback, and true to the user's
words."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest
import yoyo

from shared.errors import MigrationRefused, StoreUnavailable
from shared.store import companies, connections, migrate
from tests.store.env import StoreEnv, open_store
from tests.support import environment
from tests.support.database import query


def in_order() -> list[str]:
    """Return the names of the migrations: the lowest one next of those whose dependencies (`-- depends:`) are there."""
    waiting = {}
    for path in migrate.migrations_directory().glob("[0-9]*.sql"):
        if not path.stem.endswith(".rollback"):
            lines = re.findall(r"^-- depends:(.*)$", path.read_text(), re.MULTILINE)
            waiting[path.stem] = {name for line in lines for name in line.split()}
    assert set().union(*waiting.values()) <= set(waiting), "a migration depends on one that is not there"
    names: list[str] = []
    while waiting:
        names.append(min(name for name, needed in waiting.items() if needed <= set(names)))
        del waiting[names[-1]]
    return names


NAMES = in_order()
OURS = """
    SELECT relname AS name FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname = 'public' AND relkind IN ('r', 'v', 'S', 'm') AND relname NOT LIKE '%%yoyo%%'
    UNION ALL
    SELECT proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public' AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.objid = pg_proc.oid AND d.deptype = 'e')
    ORDER BY name
"""

DIES = """
import os, signal, sys
from yoyo.backends.base import DatabaseBackend
from yoyo import internalmigrations
from yoyo.migrations import Migration
from shared.store import migrate

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

where = sys.argv[2]
if where == "before the note":
    DatabaseBackend.mark_one = die
elif where == "under the library's lock":
    internalmigrations.upgrade = die
elif where == "after the first migration":
    keep = Migration.process_steps
    Migration.process_steps = lambda self, *a, **k: keep(self, *a, **k) if self.id.startswith("0001") else die()
migrate.apply(sys.argv[1])
"""


def migrating(url: str) -> subprocess.Popen[str]:
    """Start a process that migrates."""
    return subprocess.Popen(
        [sys.executable, "proc_recorder.py", "--migrate"],
        cwd=environment.REPOSITORY,
        env=environment.clean(database_url=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class TestApply:
    def test_twice_is_once(self, empty_database_url: str) -> None:
        assert migrate.pending(empty_database_url) == NAMES
        assert migrate.apply(empty_database_url) == NAMES
        StoreEnv(empty_database_url).close()
        before = query(empty_database_url, OURS)
        assert migrate.pending(empty_database_url) == []
        assert migrate.apply(empty_database_url) == []
        assert query(empty_database_url, OURS) == before
        assert query(empty_database_url, "SELECT id FROM phone_configs") != []

    def test_the_registry_is_brought_up_to_date_each_time(self, empty_database_url: str) -> None:
        migrate.apply(empty_database_url)
        rows = "SELECT connection_type, process_name FROM connection_types ORDER BY 1"
        right = query(empty_database_url, rows)
        assert {(row["connection_type"], row["process_name"]) for row in right} == {
            ("wwebjs", "webdriver"),
            ("meta_direct", "meta"),
            ("meta_embedded", "meta"),
            ("360dialog", "meta"),
            ("messenger", "meta"),
            ("instagram", "meta"),
        }
        query(
            empty_database_url,
            "UPDATE connection_types SET process_name = 'old'; DELETE FROM connection_types WHERE connection_type = "
            "'360dialog'",
        )
        migrate.apply(empty_database_url)
        assert query(empty_database_url, rows) == right

    def test_three_processes_at_once_apply_it_once(self, empty_database_url: str) -> None:
        started = [migrating(empty_database_url) for _ in range(3)]
        said = [(process.communicate(timeout=60)[0], process.returncode) for process in started]
        assert [code for _, code in said] == [0, 0, 0], said
        assert sorted(text.splitlines()[0] for text, _ in said) == [
            f"applied {NAMES[0]}",
            "the schema is up to date",
            "the schema is up to date",
        ]

    @pytest.mark.parametrize("where", ["before the note", "under the library's lock", "after the first migration"])
    def test_killed_in_the_middle_it_leaves_nothing_in_the_way(
        self, empty_database_url: str, tmp_path: Path, where: str
    ) -> None:
        script = tmp_path / "dies.py"
        script.write_text(DIES)
        paths = {"PYTHONPATH": str(environment.REPOSITORY)}
        died = subprocess.run(
            [sys.executable, str(script), empty_database_url, where], env=os.environ | paths, timeout=60, check=False
        )
        assert died.returncode == -signal.SIGKILL
        assert migrate.apply(empty_database_url) == (NAMES[1:] if where == "after the first migration" else NAMES)
        StoreEnv(empty_database_url).close()

    def test_a_statement_that_fails_leaves_nothing_half_done(
        self, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for path in migrate.migrations_directory().glob("*.sql"):
            tmp_path.joinpath(path.name).write_text(path.read_text())
        broken = tmp_path / "9999.broken.sql"
        broken.write_text("CREATE TABLE half_done (id int);\nSELECT nonsense;\n")
        monkeypatch.setattr(migrate, "migrations_directory", lambda: tmp_path)
        with pytest.raises(MigrationRefused, match=r"9999\.broken"):
            migrate.apply(empty_database_url)
        assert not query(empty_database_url, "SELECT 1 AS x FROM pg_class WHERE relname = 'half_done'")
        broken.write_text("CREATE TABLE whole (id int);\n")
        assert migrate.apply(empty_database_url) == ["9999.broken"]

    def test_without_a_server_it_says_so(self) -> None:
        for call in (migrate.apply, migrate.pending):
            with pytest.raises(StoreUnavailable):
                call("postgresql://nobody@127.0.0.1:1/none")

    def test_the_rollbacks_leave_an_empty_database(self, empty_database_url: str) -> None:
        migrate.apply(empty_database_url)
        assert len(query(empty_database_url, OURS)) > 15
        backend = yoyo.get_backend(empty_database_url)
        everything = yoyo.read_migrations(str(migrate.migrations_directory()))
        backend.rollback_migrations(backend.to_rollback(everything))
        backend.connection.close()
        assert query(empty_database_url, OURS) == []
        assert migrate.apply(empty_database_url) == NAMES


class TestWords:
    def test_process_name_follows_from_the_connection_type(self, env: StoreEnv) -> None:
        def names() -> list[tuple[str, str]]:
            rows = query(env.url, "SELECT connection_type, process_name FROM phone_configs ORDER BY id")
            return [(row["connection_type"], row["process_name"]) for row in rows]

        env.connect(phone_index=1, connection_type="wwebjs")
        assert names() == [("meta_direct", "meta"), ("wwebjs", "webdriver")]
        query(env.url, "UPDATE phone_configs SET connection_type = '360dialog' WHERE phone_index = 1")
        assert names()[1] == ("360dialog", "meta")
        query(env.url, "UPDATE phone_configs SET process_name = 'somebody'")
        assert [name for _, name in names()] == ["meta", "meta"], "nobody can set it by hand"

    def test_so_does_that_of_the_observed_status(self, env: StoreEnv) -> None:
        env.store.run(connections.observe, connection_id=env.connection, status="ready", incarnation="x")
        assert query(env.url, "SELECT process_name, status FROM phone_status") == [
            {"process_name": "meta", "status": "ready"}
        ]

    def test_a_connection_type_without_a_kind_is_refused(self, env: StoreEnv) -> None:
        with pytest.raises(psycopg2.IntegrityError):
            env.connect(phone_index=1, connection_type="pigeon")

    @pytest.mark.parametrize("table", ["phone_configs", "phone_status", "process_health"])
    def test_the_index_that_was_asked_for(self, env: StoreEnv, table: str) -> None:
        found = query(env.url, "SELECT indexdef FROM pg_indexes WHERE tablename = %(table)s", table=table)
        assert any("(process_name, status)" in row["indexdef"] for row in found)

    def test_the_columns_that_were_asked_for(self, env: StoreEnv) -> None:
        required = {
            "process_name",
            "status",
            "last_heartbeat",
            "error_count",
            "uptime_seconds",
            "memory_usage_mb",
            "active_connections",
        }
        rows = query(env.url, "SELECT column_name FROM information_schema.columns WHERE table_name = 'process_health'")
        assert required <= {row["column_name"] for row in rows}

    def test_a_heartbeats_age_decides(self, env: StoreEnv) -> None:
        for seconds, expected in (
            (0, "healthy"),
            (29, "healthy"),
            (31, "degraded"),
            (59, "degraded"),
            (61, "down"),
            (10**6, "down"),
        ):
            (row,) = query(
                env.url, "SELECT heartbeat_status(now() - make_interval(secs => %(age)s)) AS status", age=seconds
            )
            assert row["status"] == expected
        assert query(env.url, "SELECT heartbeat_status(NULL) AS status") == [{"status": "down"}], (
            "one that never started"
        )

    def test_every_view_answers(self, env: StoreEnv) -> None:
        ids = env.accept("a", "b")
        env.claim(ids[:1])
        views = [
            row["viewname"]
            for row in query(env.url, "SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY 1")
        ]
        assert {
            "connection_overview",
            "messages_per_minute",
            "process_status",
            "queue_depth",
            "recent_process_events",
        } <= set(views)
        rows = {view: query(env.url, f"SELECT * FROM {view}") for view in views}
        assert {(row["state"], row["messages"]) for row in rows["queue_depth"]} == {("queued", 1), ("sending", 1)}
        assert sum(row["messages"] for row in rows["messages_per_minute"]) == 2
        assert [(row["company_id"], row["configured"], row["observed"]) for row in rows["connection_overview"]] == [
            ("acme", "active", "absent")
        ]

    @pytest.mark.parametrize("company", ["", "a b", "ä", "x" * 65, "a;b"])
    def test_a_company_has_a_plain_id(self, env: StoreEnv, company: str) -> None:
        with pytest.raises(psycopg2.IntegrityError):
            env.store.run(companies.ensure, company)

    def test_a_company_takes_everything_of_its_own_with_it(self, env: StoreEnv) -> None:
        other = env.connect("globex")
        mine, theirs = env.accept("a")[0], env.accept("a", company_id="globex", connection_id=other)[0]
        query(env.url, "DELETE FROM companies WHERE id = 'acme'")
        assert [row["id"] for row in query(env.url, "SELECT id FROM messages")] == [theirs]
        assert query(env.url, "SELECT id FROM messages WHERE id = %(id)s", id=mine) == []

    def test_two_schemas_in_one_server_do_not_meet(self, empty_database_url: str, env: StoreEnv) -> None:
        """The lock that keeps migrations apart belongs to one database."""
        with psycopg2.connect(env.url) as held, held.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [migrate._ADVISORY_LOCK])
            assert migrate.apply(empty_database_url) == NAMES
        held.close()
        store = open_store(empty_database_url)
        assert store.run(connections.desired_kinds) == []
        store.close()
