"""Conversations begin and turns open in the transaction of the message, and cost nothing where none are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.conversations import rows
from shared.conversations.rows import MoveOrder
from shared.conversations.states import ConversationState
from shared.delivery.accept import accept_batch
from shared.events import public
from shared.events.catalogue import Selection
from shared.events.reader import Position
from shared.store import events
from shared.store.pool import Transaction
from tests.conversations.env import CHAT, ConversationEnv, stored
from tests.store.env import side_by_side

S = ConversationState
OTHER = "15550100201"


def test_a_first_message_begins_a_conversation_and_opens_a_turn(env: ConversationEnv) -> None:
    turns = env.receive()
    conversation = env.conversation()
    assert (conversation["state"], conversation["reason"], conversation["version"]) == ("bot", "first_message", 1)
    (turn,) = env.turns()
    assert (turns, turn["state"], turn["conversation_id"]) == ([turn["id"]], "open", conversation["id"])
    assert env.events() == [("conversation.created", "bot", "first_message")]


def test_further_messages_join_the_open_turn_for_a_bounded_time(env: ConversationEnv) -> None:
    env.set(answerDelaySeconds=10)
    env.arrive(env.line("a"), env.line("b"))
    env.query("UPDATE turns SET opened_at = opened_at - interval '8 s', due_at = due_at - interval '8 s'")
    before = env.turns()[0]
    env.receive("c")
    (turn,) = env.turns()
    assert turn["first_inbound_id"] == before["first_inbound_id"] < turn["last_inbound_id"]
    assert turn["due_at"] - before["due_at"] > timedelta(seconds=7), "it waits for what comes next"
    env.query("UPDATE turns SET opened_at = now() - interval '49 s', due_at = now()")
    env.receive("d")
    (turn,) = env.turns()
    assert turn["due_at"] - turn["opened_at"] <= timedelta(seconds=50.1), "five times as long at most"


def test_what_comes_in_while_a_turn_runs_opens_the_next(env: ConversationEnv) -> None:
    env.receive()
    env.query("UPDATE turns SET state = 'running', incarnation_id = 'ai-0.a'")
    env.receive("more")
    assert [turn["state"] for turn in env.turns()] == ["running", "open"]


def test_a_repeated_webhook_opens_nothing(env: ConversationEnv) -> None:
    line = env.line()
    env.arrive(line)
    env.query("UPDATE turns SET state = 'answered', ended_at = now()")
    assert env.arrive(line) == []
    assert len(env.turns()) == 1


def test_a_keyword_hands_over_at_once_and_ends_the_open_turn(env: ConversationEnv) -> None:
    env.receive("one question")
    env.receive("a HUMAN, please")
    assert env.state == "waiting"
    assert [(turn["state"], turn["reason"]) for turn in env.turns()] == [("dropped", "waiting")]
    assert env.events()[1:] == [
        ("conversation.updated", "waiting", "keyword"),
        ("human_handoff.requested", "waiting", "keyword"),
    ]
    env.receive("hello?")
    assert len(env.events()) == 3, "who waits goes on waiting"


def test_a_first_message_may_ask_for_a_human(env: ConversationEnv) -> None:
    assert env.receive("human") == []
    assert env.events() == [
        ("conversation.created", "waiting", "keyword"),
        ("human_handoff.requested", "waiting", "keyword"),
    ]
    assert env.turns() == []


def test_without_an_assistant_customers_wait_for_a_human(env: ConversationEnv) -> None:
    env.set(enableAssistant=False)
    env.receive()
    assert (env.state, env.conversation()["reason"]) == ("waiting", "no_assistant")


def test_a_message_reopens_what_is_closed(env: ConversationEnv) -> None:
    env.receive()
    env.move(S.CLOSED, assignee="Grace")
    assert [turn["state"] for turn in env.turns()] == ["dropped"]
    env.receive("again")
    conversation = env.conversation()
    assert (conversation["state"], conversation["reason"], conversation["assignee"]) == ("bot", "reopened", None)
    assert env.turns()[-1]["state"] == "open"


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "reaction", "content": {"emoji": "👍", "target": "wamid.1"}},
        {"type": "system", "content": {"kind": "x", "body": ""}},
        {"chat_id": "12036300000000000@g.us", "sender": CHAT},
        # a group of Meta
        {"chat_id": "120363000000000001", "sender": CHAT},
        {"may_trigger": False},
        {"at": datetime.now(UTC) - timedelta(hours=25)},
    ],
)
def test_what_says_nothing_to_the_company_begins_nothing(env: ConversationEnv, fields: dict[str, object]) -> None:
    env.receive(**fields)  # type: ignore[arg-type]
    assert env.conversations() == []


def test_a_page_scoped_id_is_a_person(env: ConversationEnv) -> None:
    env.receive(chat_id="7412589630147852", sender="7412589630147852")
    assert env.state == "bot"


def test_two_messages_of_one_chat_at_once_are_one_conversation(env: ConversationEnv) -> None:
    side_by_side(lambda: env.receive("a"), lambda: env.receive("b"), lambda: env.receive("c"))
    assert env.state == "bot"
    (turn,) = env.turns()
    (held,) = env.query("SELECT min(id) AS first, max(id) AS last FROM inbound_messages")
    assert (turn["first_inbound_id"], turn["last_inbound_id"]) == (held["first"], held["last"])


def test_two_ids_of_one_person_are_one_conversation(env: ConversationEnv) -> None:
    env.receive(chat="US.13491208655302741918")
    env.query("SELECT link_aliases('acme', 'US.13491208655302741918', %(chat)s)", chat=CHAT)
    env.receive(chat=CHAT)
    assert env.conversation()["chat_id"] == "US.13491208655302741918"
    assert len(env.turns()) == 1


class TestMerge:
    """Two people turn out to be one: by the provider, or by hand."""

    @pytest.mark.parametrize(
        ("first", "second", "kept"),
        [
            ("bot", "human", "human"),
            ("human", "waiting", "human"),
            ("waiting", "bot", "waiting"),
            ("closed", "bot", "bot"),
        ],
    )
    def test_one_is_left_in_the_state_that_comes_first(
        self, env: ConversationEnv, first: str, second: str, kept: str
    ) -> None:
        env.receive("a")
        env.receive("b", chat=OTHER)
        one, other = env.conversations()
        for row, state in ((one, first), (other, second)):
            env.query("UPDATE conversations SET state = %(state)s WHERE id = %(id)s", state=state, id=row["id"])
        self.link(env)
        assert env.store.run(rows.lock_for_answer, other["id"]) is ConversationState(kept)
        row = env.conversation()
        assert (row["id"], row["state"], row["former_ids"]) == (one["id"], kept, [other["id"]])
        open_turns = [turn for turn in env.turns() if turn["state"] == "open"]
        assert len(open_turns) == (1 if kept == "bot" else 0)

    def test_what_two_turns_should_answer_is_answered_by_one(self, env: ConversationEnv) -> None:
        env.receive("a")
        env.receive("b", chat=OTHER)
        self.link(env)
        env.receive("c")
        (open_turn,) = [turn for turn in env.turns() if turn["state"] == "open"]
        (held,) = env.query("SELECT min(id) AS first, max(id) AS last FROM inbound_messages")
        assert (open_turn["first_inbound_id"], open_turn["last_inbound_id"]) == (held["first"], held["last"])

    def test_of_two_that_run_the_second_is_answered_after_the_first(self, env: ConversationEnv) -> None:
        env.receive("a")
        env.receive("b", chat=OTHER)
        env.query("UPDATE turns SET state = 'running', incarnation_id = 'ai-0.a'")
        self.link(env)
        env.store.run(rows.fold, company_id="acme", connection_id=env.connection, chat_id=CHAT)
        first, second = env.turns()
        assert (first["state"], second["state"], second["incarnation_id"]) == ("running", "open", None)
        assert first["conversation_id"] == second["conversation_id"] == env.conversation()["id"]

    def link(self, env: ConversationEnv) -> None:
        env.query(
            "INSERT INTO contact_aliases (company_id, alias, person_id) VALUES ('acme', %(a)s, 7), ('acme', %(b)s, 7)",
            a=CHAT,
            b=OTHER,
        )


class TestRaces:
    def test_of_two_moves_at_once_one_is_made(self, env: ConversationEnv) -> None:
        env.receive()
        conversation_id = env.conversation()["id"]

        def to(state: ConversationState) -> bool:
            order = MoveOrder(id=conversation_id, before={S.BOT}, after=state, reason=f"to_{state}")
            return conversation_id in env.store.run(rows.move, [order])

        made = side_by_side(lambda: to(S.HUMAN), lambda: to(S.WAITING), lambda: to(S.CLOSED))
        assert sum(made) == 1
        assert env.state == ("human", "waiting", "closed")[made.index(True)]
        assert env.conversation()["version"] == 2

    def test_events_are_read_in_the_order_of_the_changes(self, env: ConversationEnv) -> None:
        """Transactions are numbered when they first write; the one with the smaller number changes the row last."""
        env.receive()
        conversation_id = env.conversation()["id"]
        start = Position(env.store.run(events.horizon).oldest)

        def close_after(transaction: Transaction) -> None:
            transaction.execute("ensure_company", id="older", name="")
            # the younger one moves the row, and commits
            env.store.run(rows.hand_over, conversation_id, reason="tool")
            order = MoveOrder(id=conversation_id, before={S.WAITING}, after=S.CLOSED, reason="closed")
            assert rows.move(transaction, [order])

        env.store.run(close_after)
        page = env.store.run(public.read, Selection(company_id="acme"), start, most=10)
        assert [event.type for event in page.events] == [
            "conversation.updated",
            "human_handoff.requested",
            "conversation.updated",
        ]
        assert len({event.conversation for event in page.events}) == 1
        assert [
            event["state"]
            for event in env.query("SELECT state FROM events WHERE subject = 'conversation' ORDER BY xid, id")
        ] == ["bot", "waiting", "closed"]


class Counting:
    """Counts the statements of one transaction."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        run = Transaction._run

        def counted(transaction: Transaction, name: str, parameters: object) -> None:
            self.names.append(name)
            run(transaction, name, parameters)  # type: ignore[arg-type]

        monkeypatch.setattr(Transaction, "_run", counted)


class TestCost:
    """A company that keeps none pays nothing: no statement more, neither when a message comes in nor when one goes."""

    def test_of_a_company_without(self, env: ConversationEnv, monkeypatch: pytest.MonkeyPatch) -> None:
        env.set(enableAssistant=False, enableHumanHandoff=False)
        counting = Counting(monkeypatch)
        assert env.receive() == []
        assert counting.names == ["insert_inbound", "apply_inbound_changes"]
        counting.names.clear()
        env.store.run(accept_batch, [env.own.message(CHAT)])
        assert counting.names == ["accept_messages"]
        assert env.conversations() == []

    def test_of_a_company_with(self, env: ConversationEnv, monkeypatch: pytest.MonkeyPatch) -> None:
        counting = Counting(monkeypatch)
        env.arrive(*(env.line(chat=str(15550100000 + number)) for number in range(20)))
        assert counting.names[2:] == ["rules_of_companies", "begin_conversations", "join_turns"]
        counting.names.clear()
        env.store.run(accept_batch, [env.own.message(str(15550100000 + number)) for number in range(20)])
        assert counting.names == ["accept_messages", "take_over_conversations"]
        assert {row["state"] for row in env.conversations()} == {"human"}


def test_all_of_it_or_nothing(env: ConversationEnv) -> None:
    with pytest.raises(ZeroDivisionError):
        env.store.run(_failing, env)
    assert env.conversations() == env.query("SELECT id FROM inbound_messages") == []
    assert env.events() == []


def _failing(transaction: Transaction, env: ConversationEnv) -> None:
    stored(transaction, (env.line(),))
    raise ZeroDivisionError
