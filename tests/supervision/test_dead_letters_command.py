"""`bulkhead dead-letters`, as an operator runs it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.process.exit_codes import ExitCode
from shared.states import MessageState
from tests.store.env import StoreEnv
from tests.support import environment


@pytest.fixture
def env(database_url: str) -> Iterator[StoreEnv]:
    """A company with one connection."""
    made = StoreEnv(database_url)
    yield made
    made.close()


SEALED_WITH = base64.b64encode(bytes(32)).decode()


def command(home: Path, database_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the orchestrator's command and wait for it."""
    return subprocess.run(
        [sys.executable, "orchestrator.py", "dead-letters", *words],
        cwd=environment.REPOSITORY,
        env=environment.clean(bulkhead_home=home, database_url=database_url, secret_encryption_key=SEALED_WITH),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def fail(env: StoreEnv, chat: str, code: str) -> int:
    """Return a message that failed."""
    (row_id,) = env.accept(chat)
    env.claim([row_id])
    assert env.settle(row_id, MessageState.FAILED, code=code)
    return row_id


def test_what_failed_is_listed_and_queued_again(env: StoreEnv, home: Path) -> None:
    first, second, third = (
        fail(env, f"chat-{number}", code) for number, code in enumerate(("131026", "131049", "131026"))
    )

    listed = command(home, env.url, "list", "--json")
    assert listed.returncode == ExitCode.OK, listed.stderr
    assert [json.loads(line)["id"] for line in listed.stdout.splitlines()] == [third, second, first]
    table = command(home, env.url, "list", "--company", "acme", "--code", "131049").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["id", str(second)]
    assert "chat-1" not in "".join(table), "chat ids stay out of terminals and their logs"

    assert json.loads(
        command(home, env.url, "redrive", "--company", "acme", "--code", "131026", "--limit", "1", "--json").stdout
    ) == {
        "redriven": 1,
        "more": True,
    }
    assert [env.state(row_id) for row_id in (first, second, third)] == ["queued", "failed", "failed"]
    assert command(home, env.url, "redrive", "--company", "acme", "--id", str(third)).stdout == "queued again: 1\n"
    assert [env.state(row_id) for row_id in (second, third)] == ["failed", "queued"]
    assert command(home, env.url, "list", "--phone-index", "1").stdout == "there are no dead letters\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["redrive"], "Missing option '--company'"),
        (["redrive", "--company", "nobody"], "There is no such company"),
        (["redrive", "--company", "acme", "--limit", "0"], "from 1 to 1000"),
        (["bury"], "No such command 'bury'"),
    ],
)
def test_what_cannot_be_done_is_said(env: StoreEnv, home: Path, words: list[str], sentence: str) -> None:
    row_id = fail(env, "a", "131026")
    answer = command(home, env.url, *words)
    assert answer.returncode == ExitCode.USAGE
    assert sentence in answer.stderr
    assert env.state(row_id) == "failed"


def test_a_database_that_is_away_is_said(home: Path) -> None:
    answer = command(home, "postgresql://nobody@127.0.0.1:1/none", "list")
    assert answer.returncode == ExitCode.BOOT
    assert "Start PostgreSQL" in answer.stderr
