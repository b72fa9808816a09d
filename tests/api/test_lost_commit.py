"""The answer to a commit is lost: looked up, not guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.api_env import ApiEnv, CommitThief
from tests.support.servers import Servers


@pytest.fixture
def thief(database_url: str) -> Iterator[CommitThief]:
    """What stands between the API and the database."""
    made = CommitThief(database_url, b"lost and found")
    yield made
    made.close()


@pytest.fixture
def api_env(home: Path, thief: CommitThief, database_url: str, servers: Servers) -> Iterator[ApiEnv]:
    """An API that reaches the database through the thief."""
    with ApiEnv(home, thief.url, servers.new_redis()) as made:
        made.database_url = database_url
        yield made.seed().start()


@pytest.mark.parametrize("key", ["k-lost", None], ids=["with a key", "without a key"])
@pytest.mark.parametrize("committed", [True, False], ids=["after the commit", "before the commit"])
def test_a_lost_commit_is_accepted_once(api_env: ApiEnv, thief: CommitThief, committed: bool, key: str | None) -> None:
    headers = {"Idempotency-Key": key} if key else {}
    thief.steal(committed=committed)
    answer = api_env.send("lost and found", chat="15550100400", headers=headers)
    assert thief.stolen.is_set()
    assert answer.status_code == 202, answer.text
    assert "Idempotency-Replayed" not in answer.headers
    rows = api_env.sql("SELECT id, state FROM messages WHERE chat_id = '15550100400'")
    assert [(str(row["id"]), row["state"]) for row in rows] == [(answer.json()["id"], "queued")]
    if key:
        again = api_env.send("lost and found", chat="15550100400", headers=headers)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.json() == answer.json()
    lost = [json.loads(line) for line in api_env.entry.log.read_text().splitlines() if '"commit_answer_lost"' in line]
    assert len(lost) == 1
    assert lost[0]["correlation_id"] == answer.headers["X-Request-Id"]
