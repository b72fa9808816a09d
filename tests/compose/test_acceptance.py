"""A commit whose answer is lost is repeated, never guessed."""

from __future__ import annotations

import asyncio

import pytest

from shared.clock import utc_now
from shared.compose import acceptance
from shared.errors import Refused, StoreUnavailable
from shared.store.messages import Accepted, NewMessage

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


class ScriptedAcceptor:
    """An acceptor that gives scripted answers and keeps the keys of its calls."""

    def __init__(self, *answers: Accepted | StoreUnavailable) -> None:
        self.answers, self.keys = list(answers), list[str | None]()

    async def accept(self, message: NewMessage) -> Accepted:
        self.keys.append(message.idempotency_key)
        answer = self.answers.pop(0)
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer


def test_a_database_that_was_never_reached_is_asked_once() -> None:
    acceptor = ScriptedAcceptor(AWAY)
    with pytest.raises(StoreUnavailable):
        asyncio.run(acceptance.accept(acceptor, MESSAGE))
    assert len(acceptor.keys) == 1


@pytest.mark.parametrize("second", [LOST, AWAY], ids=["lost again", "away"])
def test_an_unknown_outcome_is_reported(second: StoreUnavailable) -> None:
    with pytest.raises(Refused) as refusal:
        asyncio.run(acceptance.accept(ScriptedAcceptor(LOST, second), MESSAGE))
    assert refusal.value.code == "acceptance_unknown"


def test_the_second_question_uses_the_same_key_and_its_row_is_no_replay() -> None:
    acceptor = ScriptedAcceptor(LOST, Accepted(id=7, created_at=utc_now(), replayed=True))
    accepted = asyncio.run(acceptance.accept(acceptor, MESSAGE))
    assert (accepted.id, accepted.replayed) == (7, False)
    assert acceptor.keys[0] == acceptor.keys[1]
