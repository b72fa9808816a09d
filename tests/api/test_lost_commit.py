"""The answer to a commit is lost: looked up, not guessed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import acceptance
from api.problems import Problem
from shared.clock import utc_now
from shared.errors import StoreUnavailable
from shared.store.messages import Accepted, NewMessage
from tests.api.house import CommitThief, House
from tests.support.servers import Servers


@pytest.fixture
def thief(database_url: str) -> Iterator[CommitThief]:
    """What stands between the API and the database."""
    made = CommitThief(database_url, b"lost and found")
    yield made
    made.close()


@pytest.fixture
def house(home: Path, thief: CommitThief, database_url: str, servers: Servers) -> Iterator[House]:
    """An API that reaches the database through the thief."""
    with House(home, thief.url, servers.new_redis()) as made:
        made.database_url = database_url
        yield made.seed().start()


@pytest.mark.parametrize("key", ["k-lost", None], ids=["with a key", "without a key"])
@pytest.mark.parametrize("committed", [True, False], ids=["after the commit", "before the commit"])
def test_a_lost_commit_is_accepted_once(house: House, thief: CommitThief, committed: bool, key: str | None) -> None:
    headers = {"Idempotency-Key": key} if key else {}
    thief.steal(committed=committed)
    answer = house.send("lost and found", chat="15550100400", headers=headers)
    assert thief.stolen.is_set()
    assert answer.status_code == 202, answer.text
    assert "Idempotency-Replayed" not in answer.headers
    rows = house.sql("SELECT id, state FROM messages WHERE chat_id = '15550100400'")
    assert [(str(row["id"]), row["state"]) for row in rows] == [(answer.json()["id"], "queued")]
    if key:
        again = house.send("lost and found", chat="15550100400", headers=headers)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.json() == answer.json()
    lost = [json.loads(line) for line in house.entry.log.read_text().splitlines() if '"commit_answer_lost"' in line]
    assert len(lost) == 1
    assert lost[0]["correlation_id"] == answer.headers["X-Request-Id"]


LOST = StoreUnavailable("the line was cut in the commit", may_be_done=True)
AWAY = StoreUnavailable("the line cannot be opened")
MESSAGE = NewMessage(
    company_id="alpha",
    connection_id=1,
    process_name="meta",
    chat_id="15550100200",
    type="text",
    content={"body": "x"},
    idempotency_key="k",
)


class Told:
    """An acceptor that answers as it is told, and keeps the keys that it was given."""

    def __init__(self, *answers: Accepted | StoreUnavailable) -> None:
        self.answers, self.keys = list(answers), list[str | None]()

    async def accept(self, message: NewMessage) -> Accepted:
        self.keys.append(message.idempotency_key)
        answer = self.answers.pop(0)
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer


def test_a_database_that_was_never_reached_is_asked_once() -> None:
    told = Told(AWAY)
    with pytest.raises(StoreUnavailable):
        asyncio.run(acceptance.accept(told, MESSAGE))
    assert len(told.keys) == 1


@pytest.mark.parametrize("second", [LOST, AWAY], ids=["lost again", "away"])
def test_when_nobody_can_tell_the_answer_says_so(second: StoreUnavailable) -> None:
    with pytest.raises(Problem) as refusal:
        asyncio.run(acceptance.accept(Told(LOST, second), MESSAGE))
    assert refusal.value.name == "acceptance_unknown"


def test_the_second_question_uses_the_same_key_and_its_row_is_no_replay() -> None:
    told = Told(LOST, Accepted(id=7, created_at=utc_now(), replayed=True))
    accepted = asyncio.run(acceptance.accept(told, MESSAGE))
    assert (accepted.id, accepted.replayed) == (7, False)
    assert told.keys[0] == told.keys[1]
