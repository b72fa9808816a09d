"""`bulkhead webhooks`, as an operator runs it, beside a living meta process and without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shared.process.exit_codes import ExitCode
from shared.store import connections, inbound
from shared.store.inbound import RawEvent
from tests.meta.env import MetaEnv
from tests.meta.seed import COMPANY, text, webhook
from tests.store.env import StoreEnv
from tests.support import environment


def command(home: Path, database_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command and wait for it."""
    return subprocess.run(
        [sys.executable, "orchestrator.py", "webhooks", *words],
        cwd=environment.REPOSITORY,
        env=environment.clean(bulkhead_home=home, database_url=database_url),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def ids_of(env: MetaEnv) -> list[int]:
    return [row[0] for row in env.query("SELECT id FROM inbound_journal ORDER BY id")]


def test_what_was_nobodys_is_somebodys_after_a_replay(env: MetaEnv, home: Path) -> None:
    env.wait_journal_read()
    env.query("DELETE FROM inbound_journal RETURNING id")  # events of other tests of this folder
    number = "777000000000001"
    for provider_id in ("wamid.LOST1", "wamid.LOST2"):
        assert env.post(webhook({"messages": [text("hi", provider_id)]}, number=number)) == 200
    assert env.post(webhook({"messages": [text("hi", "wamid.FINE")]})) == 200
    env.wait_journal_read()

    listed = command(home, env.settings.database_url, "list", "--named", "--json")
    assert listed.returncode == ExitCode.OK, listed.stderr
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert len(rows) == 2
    assert all("no connection has this phone number id" in row["outcome"] and row["attempts"] == 1 for row in rows)
    shown = command(home, env.settings.database_url, "show", str(rows[0]["id"]))
    assert '"wamid.LOST2"' in shown.stdout

    again = command(home, env.settings.database_url, "replay", "--named", "--json")
    assert again.returncode == 1, again.stderr
    assert json.loads(again.stdout) == {"chosen": 2, "well": 0, "not_well": 2, "not_done": 0}

    env.store.run(
        connections.ensure, company_id=COMPANY, phone_index=99, connection_type="meta_direct", account_id=number
    )
    again = command(home, env.settings.database_url, "replay", "--words", "no connection has", "--since", "1h")
    assert again.returncode == ExitCode.OK, again.stderr
    assert again.stdout == "events chosen: 2; well: 2; not well: 0; not done: 0\n"
    assert len(env.inbound("wamid.LOST1")) == len(env.inbound("wamid.LOST2")) == 1
    assert command(home, env.settings.database_url, "list", "--named").stdout == "There are no such events.\n"

    everything = command(home, env.settings.database_url, "replay", "--all", "--json")
    assert (everything.returncode, json.loads(everything.stdout)["well"]) == (ExitCode.OK, len(ids_of(env)))
    assert len(env.inbound("wamid.FINE")) == len(env.inbound("wamid.LOST1")) == 1


def test_without_a_meta_process_what_is_marked_waits(database_url: str, home: Path) -> None:
    store_env = StoreEnv(database_url)
    try:
        ids = store_env.store.run(inbound.journal, "meta", [RawEvent(source="meta", body=b"{}")])
        store_env.store.run(inbound.finish, {ids[0]: "failed: ZeroDivisionError"})
        run = command(home, database_url, "replay", "--failed", "--wait", "0.5")
        assert run.returncode == 1
        assert "events chosen: 1; well: 0; not well: 0; not done: 1" in run.stdout
        assert "does a meta process run?" in run.stdout
        waiting = command(home, database_url, "list", "--waiting", "--json").stdout.splitlines()
        assert [json.loads(line)["id"] for line in waiting] == ids
    finally:
        store_env.close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["replay"], "choose: ids"),
        (["replay", "4711"], "there is no event 4711"),
        (["show", "4711"], "there is no event 4711"),
        (["replay", "x"], "'x'"),
        (["list", "--since", "yesterday"], "is no time"),
        (["dance"], "No such command"),
    ],
)
def test_a_mistake_of_an_operator_is_one_sentence(
    migrated_url: str, tmp_path: Path, words: list[str], says: str
) -> None:
    run = command(tmp_path / "home", migrated_url, *words)
    assert run.returncode == ExitCode.USAGE
    assert says in run.stderr


@pytest.fixture(scope="module")
def migrated_url(running_env: MetaEnv) -> str:
    """A database that these tests only ask."""
    return running_env.settings.database_url


def test_an_unreachable_database_is_said(tmp_path: Path) -> None:
    run = command(tmp_path / "home", "postgresql://nobody@127.0.0.1:1/none", "list")
    assert run.returncode == ExitCode.BOOT
    assert "PostgreSQL" in run.stderr
