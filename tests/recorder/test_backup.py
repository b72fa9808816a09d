"""`bulkhead backup` and `restore`: everything comes back, nothing that exists is changed, nothing is sent twice, and
readers of events go on."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.process.exit_codes import ExitCode
from shared.store.statements import statements
from supervision.commands.command_exits import CommandExit
from tests.store.env import StoreEnv
from tests.support import environment
from tests.support.database import query

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def env(database_url: str) -> Iterator[StoreEnv]:
    """A company with one connection."""
    made = StoreEnv(database_url)
    yield made
    made.close()


def command(home: Path, *words: str, url: str = "", key: str = KEY) -> subprocess.CompletedProcess[str]:
    """Run the orchestrator's command and wait for it."""
    variables = {"bulkhead_home": home, "secret_encryption_key": key, "redis_url": "redis://127.0.0.1:1/0"}
    return subprocess.run(
        [sys.executable, "orchestrator.py", *words],
        cwd=environment.REPOSITORY,
        env=environment.clean(**{**variables, **({"database_url": url} if url else {})}),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def made(env: StoreEnv, home: Path, tmp_path: Path) -> Path:
    """Return a backup of a home with a file, a profile and two messages."""
    env.accept("chat-1")
    env.accept("chat-2")
    (home / "media" / "acme").mkdir(parents=True)
    (home / "media" / "acme" / "picture").write_bytes(b"x" * 100_000)
    profile = home / "sessions" / "acme-1"
    (profile / "Default" / "Cache").mkdir(parents=True)
    (profile / "Default" / "Cache" / "large").write_text("made anew")
    (profile / "Default" / "Cookies").write_text("kept")
    (profile / "SingletonLock").symlink_to("host-1")
    (home / "secret_key").write_text("not in it")
    target = tmp_path / "backup.tar"
    done = command(home, "backup", str(target), url=env.url)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "The key that opens its secrets is not in it" in done.stderr
    return target


def test_everything_comes_back_and_waits_for_a_human(
    env: StoreEnv, home: Path, tmp_path: Path, empty_database_url: str
) -> None:
    archive = made(env, home, tmp_path)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with tarfile.open(archive) as opened:
        names = opened.getnames()
        manifest = json.loads(opened.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert names[0] == "manifest.json" and names[-1] == "end.json"
    assert {*names[2:-1]} == {"media/acme/picture", "sessions/acme-1/Default/Cookies"}
    assert KEY not in archive.read_bytes().decode("latin-1")

    fresh = tmp_path / "fresh"
    done = command(fresh, "restore", str(archive), url=empty_database_url)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "1 connections are paused" in done.stderr
    assert (fresh / "media/acme/picture").stat().st_size == 100_000
    assert (fresh / "sessions/acme-1/Default/Cookies").read_text() == "kept"
    assert not (fresh / "secret_key").exists()
    for table in ("companies", "messages", "events", "_yoyo_migration", "row_security_rules"):
        before, after = (query(one, f"SELECT count(*) AS n FROM {table}") for one in (env.url, empty_database_url))
        assert before == after, table
    (connection,) = query(empty_database_url, "SELECT status, status_reason FROM phone_configs")
    assert connection["status"] == "paused"
    assert manifest["at"] in connection["status_reason"]

    # of two walls, both: the same tables are protected, for roles of this server
    protected = """SELECT relname, relrowsecurity, relforcerowsecurity,
                          (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies
                   FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
                   ORDER BY relname"""
    assert query(env.url, protected) == query(empty_database_url, protected)
    grants = """SELECT table_name, grantee, privilege_type FROM information_schema.role_table_grants
                WHERE grantee LIKE 'bulkhead%' ORDER BY 1, 2, 3"""
    assert len(query(env.url, grants)) == len(query(empty_database_url, grants))

    # a new event stands behind every position that the lost database can have given
    last = query(empty_database_url, "SELECT max(xid) AS xid FROM events")[0]["xid"]
    query(empty_database_url, "INSERT INTO events (subject, type) VALUES ('process', 'process.started')")
    newest = query(empty_database_url, "SELECT max(xid) AS xid FROM events")[0]["xid"]
    assert newest > max(last, manifest["position"] + 900_000_000)
    # and readers see it
    (horizon,) = query(empty_database_url, statements()["event_horizon"])
    assert horizon["oldest"] > newest


def test_nothing_that_exists_is_changed(env: StoreEnv, home: Path, tmp_path: Path, empty_database_url: str) -> None:
    archive = made(env, home, tmp_path)
    again = command(home, "backup", str(archive), url=env.url)
    assert (again.returncode, "exists already" in again.stderr) == (ExitCode.USAGE, True)

    used = command(home, "restore", str(archive), url=empty_database_url)
    assert used.returncode == CommandExit.UNWELL
    assert f"Move it away: mv {home} {home}.before" in used.stderr

    fresh = tmp_path / "fresh"
    full = command(fresh, "restore", str(archive), url=env.url)
    assert (full.returncode, "the database is not empty" in full.stderr) == (CommandExit.UNWELL, True)
    wrong = command(fresh, "restore", str(archive), url=empty_database_url, key=OTHER_KEY)
    assert (wrong.returncode, "secret_key" in wrong.stderr) == (CommandExit.UNWELL, True)

    torn = tmp_path / "torn.tar"
    with tarfile.open(archive) as opened, tarfile.open(torn, "w") as copy:
        for member in opened.getmembers()[:-1]:
            copy.addfile(member, opened.extractfile(member))
    refused = command(fresh, "restore", str(torn), url=empty_database_url)
    assert (refused.returncode, "torn" in refused.stderr) == (CommandExit.UNWELL, True)
    (tmp_path / "text.tar").write_text("no archive")
    nothing = command(fresh, "restore", str(tmp_path / "text.tar"), url=empty_database_url)
    assert nothing.returncode == CommandExit.UNWELL, nothing.stderr

    assert list(fresh.iterdir()) == []
    assert query(empty_database_url, "SELECT count(*) AS n FROM pg_class WHERE relnamespace = 'public'::regnamespace")


def test_into_an_empty_home_with_the_embedded_server(env: StoreEnv, home: Path, tmp_path: Path) -> None:
    """As an operator does it who has the archive and the key, and nothing else."""
    archive = made(env, home, tmp_path)
    fresh = home / "n"
    done = command(fresh, "restore", str(archive))
    assert done.returncode == ExitCode.OK, done.stderr
    assert "Start it: bulkhead" in done.stdout
    assert (fresh / "postgres").is_dir() and (fresh / "media/acme/picture").exists()
    assert command(fresh, "status").returncode == CommandExit.NOT_RUNNING
