"""What is deleted for everyone has no content any more: in its row, its edits, its events and the raw events in which
it came.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import yoyo

from recorder.parked_changes import apply_parked
from shared.events import public
from shared.events.catalogue import Selection
from shared.events.reader import Position
from shared.inbound_events import MediaSource
from shared.messages import InboundMessage, Receipt
from shared.states import MessageState
from shared.store import erasure, inbound, inbound_media, interventions, messages, migrate
from shared.store.inbound import RawEvent
from tests.inbound.test_chat_scope import VICTIM, edit, line, receive, revoke, sent
from tests.store.env import LONG_AGO, StoreEnv, open_transaction
from tests.support.database import query

SECRET = "sekrit"
"""Stands in everything that must be gone."""
EVERYWHERE = """
    SELECT i.content::text || i.context::text || coalesce(m.source::text, '') AS text
    FROM inbound_messages i LEFT JOIN inbound_media m ON m.message_id = i.id
    UNION ALL SELECT content::text FROM messages
    UNION ALL SELECT convert_from(body, 'UTF8') FROM inbound_journal
"""


def places(env: StoreEnv) -> list[str]:
    """Return what still holds the secret: rows, raw events, and events as clients read them."""
    found = [row["text"] for row in query(env.url, EVERYWHERE)]
    page = env.store.run(public.read, Selection(company_id="acme"), Position(), most=100)
    return [text for text in [*found, *(event.body.decode() for event in page.events)] if SECRET in text]


def erase_copies(env: StoreEnv) -> int:
    return env.store.run(erasure.erase_copies, most=100)


def journalled(env: StoreEnv, *lines: InboundMessage) -> None:
    """Receive lines, each in a raw event of its own, as WhatsApp has it."""
    for one in lines:
        message = {"id": one.provider_id, "text": one.content}
        receive_raw(env, {"entry": [{"changes": [{"value": {"messages": [message]}}]}]}, one)


def receive_raw(env: StoreEnv, event: Mapping[str, Any], *lines: InboundMessage) -> None:
    raw = RawEvent(source="meta", body=json.dumps(event).encode())
    (journal_id,) = env.store.run(inbound.journal, "meta", [raw])
    env.store.run(inbound.insert, [(one, journal_id) for one in lines])


def picture(env: StoreEnv, **fields: Any) -> InboundMessage:
    content = {"media": {"id": "1", "filename": f"{SECRET}.jpg"}, "caption": SECRET, "quoted": "wamid.0"}
    return line(env, VICTIM, "wamid.1", type="image", content=content, context={"referral": SECRET}, **fields)


def words(env: StoreEnv, chat: str = VICTIM, **fields: Any) -> InboundMessage:
    return replace(edit(env, chat, **fields), content={"target": "wamid.1", "body": SECRET})


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)], ids=str)
def test_what_its_author_deletes_is_gone_everywhere(env: StoreEnv, order: Sequence[int]) -> None:
    """In whatever order message, edit and deletion come."""
    given = [picture(env), words(env), revoke(env, VICTIM, at=LONG_AGO.replace(year=2025))]
    journalled(env, *(given[place] for place in order))
    (row,) = query(env.url, "SELECT id FROM inbound_messages WHERE provider_id = 'wamid.1'")
    source = {"id": "1", "filename": f"{SECRET}.jpg"}
    env.store.run(inbound_media.media_pending, [(row["id"], _source(env, source))])
    erase_copies(env)
    assert places(env) == []
    events = env.store.run(public.read, Selection(company_id="acme"), Position(), most=100).events
    shown = json.loads(events[-1].body)["data"]["message"]
    assert (shown["type"], shown["status"], shown["deletedFor"]) == ("image", "deleted", "everyone")
    assert (shown["deletedAt"], shown["sentAt"]) == ("2025-05-01T00:00:00.000Z", "2024-05-01T00:00:00.000Z")


def _source(env: StoreEnv, fields: Mapping[str, str]) -> MediaSource:
    return MediaSource(connection_id=env.connection, provider_id="wamid.1", **fields)


def test_the_other_messages_of_a_raw_event_stay(env: StoreEnv) -> None:
    """Also one that quotes what was deleted, and what is said about it."""
    value: Any = {
        "messages": [
            {"id": "wamid.1", "text": {"body": SECRET}},
            {"id": "wamid.2", "text": {"body": "stays"}, "context": {"id": "wamid.1"}},
        ],
        "statuses": [{"id": "wamid.1", "status": "delivered"}],
    }
    receive_raw(
        env,
        {"entry": [{"changes": [{"value": value}]}]},
        line(env, VICTIM, "wamid.1", content={"body": SECRET}),
        line(env, VICTIM, "wamid.2", content={"body": "stays"}),
    )
    journalled(env, revoke(env, VICTIM))
    erase_copies(env)
    (row, _) = query(env.url, "SELECT body FROM inbound_journal ORDER BY id")
    left = json.loads(bytes(row["body"]))["entry"][0]["changes"][0]["value"]
    assert left == {"messages": value["messages"][1:], "statuses": value["statuses"]}


def test_raw_events_that_brought_it_again_count_too(env: StoreEnv) -> None:
    """Before and after the deletion."""
    message = line(env, VICTIM, "wamid.1", content={"body": SECRET})
    journalled(env, message, message, revoke(env, VICTIM))
    assert erase_copies(env) == 2
    journalled(env, message)
    assert erase_copies(env) == 1
    assert places(env) == []
    assert query(env.url, "SELECT * FROM journal_copies") == []


def test_a_raw_event_that_is_being_processed_is_left_for_the_next_round(env: StoreEnv) -> None:
    journalled(env, line(env, VICTIM, "wamid.1", content={"body": SECRET}), revoke(env, VICTIM))
    query(env.url, "UPDATE inbound_journal SET processed_at = NULL")
    with open_transaction(env.url, "SELECT id FROM inbound_journal FOR UPDATE"):
        assert erase_copies(env) == 0
    assert erase_copies(env) == 1
    assert places(env) == []


def test_a_copy_whose_raw_event_is_gone_is_forgotten(env: StoreEnv) -> None:
    message = line(env, VICTIM, "wamid.1")
    journalled(env, message, message)
    query(env.url, "DELETE FROM inbound_journal")
    env.store.run(lambda transaction: transaction.execute("prune_copies"))
    assert query(env.url, "SELECT * FROM journal_copies") == []


def test_a_strangers_edit_keeps_its_words(env: StoreEnv) -> None:
    receive(env, line(env, VICTIM, "wamid.1"), words(env, "15550100666"), revoke(env, VICTIM))
    assert len(places(env)) == 1


def test_what_was_unknown_does_not_get_content_after_its_deletion(env: StoreEnv) -> None:
    """A replay reads what it could not read before."""
    receive(env, line(env, VICTIM, "wamid.1", type="unknown"), revoke(env, VICTIM))
    receive(env, line(env, VICTIM, "wamid.1", content={"body": SECRET}))
    assert places(env) == []


class TestOurOwn:
    def ours(self, env: StoreEnv) -> int:
        (row_id,) = env.accept(VICTIM, content={"body": SECRET})
        env.claim([row_id])
        env.settle(row_id, MessageState.SENT, provider_id="wamid.1")
        return row_id

    def act(self, env: StoreEnv, kind: str, target: int, **content: Any) -> int:
        """Send an edit or a deletion of a message."""
        (row_id,) = env.accept(VICTIM, type=kind, content={"target": "wamid.1", "target_id": target, **content})
        env.claim([row_id])
        env.settle(row_id, MessageState.SENT, provider_id=f"wamid.{row_id}", acts=True)
        return row_id

    def test_what_we_delete_for_everyone_is_gone(self, env: StoreEnv) -> None:
        row_id = self.ours(env)
        before = self.act(env, "edit", row_id, body=SECRET)
        self.act(env, "delete", row_id, everyone=True)
        after = self.act(env, "edit", row_id, body=SECRET)
        assert places(env) == []
        assert (env.state(row_id), env.state(before), env.state(after)) == ("deleted", "sent", "sent")

    def test_what_is_deleted_on_our_side_only_stays(self, env: StoreEnv) -> None:
        self.act(env, "delete", self.ours(env), everyone=False)
        assert places(env)

    def test_what_is_deleted_on_the_phone_is_gone_with_its_echo(self, env: StoreEnv) -> None:
        self.ours(env)
        echo = line(env, VICTIM, "wamid.1", from_me=True, sender="", content={"body": SECRET})
        journalled(env, echo, words(env, from_me=True, sender=""), revoke(env, VICTIM, from_me=True, sender=""))
        erase_copies(env)
        assert places(env) == []

    def test_what_was_cancelled_stays_since_a_late_proof_may_show_that_it_left(self, env: StoreEnv) -> None:
        (row_id,) = env.accept(VICTIM, content={"body": SECRET})
        (first,) = env.claim([row_id])
        env.settle(row_id, MessageState.QUEUED)
        env.store.run(interventions.cancel, company_id="acme", chat_id=VICTIM, message_id=row_id)
        env.store.run(erasure.erase_deleted, [row_id])
        env.receipts(Receipt(connection_id=env.connection, state=MessageState.SENT, at=LONG_AGO, token=first.token))
        assert (env.state(row_id), env.row(row_id)["content"]) == ("sent", {"body": SECRET})


class TestInAnyOrder:
    """Edits and deletions of our own messages by hand, that come before the message's id at the provider is stored."""

    @pytest.mark.parametrize("way", ["answer", "receipt", "reclaim", "reconcile"])
    def test_they_are_applied_when_it_is(self, env: StoreEnv, way: str) -> None:
        (row_id,) = env.accept(VICTIM)
        (claimed,) = env.claim([row_id])
        receive(env, edit(env, VICTIM, from_me=True, sender=""))
        self.learn_id(env, row_id, claimed.token, way)
        assert self.look_again(env) == 1
        assert env.row(row_id)["content"]["body"] == "after"
        assert self.look_again(env) == 0, "it has found its message"

    @staticmethod
    def learn_id(env: StoreEnv, row_id: int, token: str, way: str) -> None:
        if way == "answer":
            env.settle(row_id, MessageState.SENT, provider_id="wamid.1")
        elif way == "receipt":
            env.receipts(
                Receipt(
                    connection_id=env.connection,
                    state=MessageState.SENT,
                    at=LONG_AGO,
                    token=token,
                    provider_id="wamid.1",
                )
            )
        elif way == "reclaim":
            flight = {"id": row_id, "stage": "SENT", "text": "wamid.1"}
            env.store.run(messages.reclaim, incarnation="meta-0.a", flights=[flight], recorded=True)
        else:
            env.settle(row_id, MessageState.IN_DOUBT)
            env.store.run(
                messages.resolve,
                message_id=row_id,
                attempt=1,
                state=MessageState.SENT,
                code="",
                incarnation="meta-0.a",
                provider_id="wamid.1",
            )

    @staticmethod
    def look_again(env: StoreEnv) -> int:
        """Let the time of the next look come, and look."""
        query(env.url, "UPDATE inbound_messages SET look_again_at = now() WHERE look_again_at IS NOT NULL")
        due = len(env.store.run(inbound.parked, most=100))
        asyncio.run(apply_parked(env.store))
        return due

    def test_a_deletion_too(self, env: StoreEnv) -> None:
        (row_id,) = env.accept(VICTIM, content={"body": SECRET})
        env.claim([row_id])
        receive(env, revoke(env, VICTIM, from_me=True, sender=""))
        assert self.look_again(env) == 1
        assert env.state(row_id) == "sending"
        env.settle(row_id, MessageState.SENT, provider_id="wamid.1")
        self.look_again(env)
        assert (env.state(row_id), places(env)) == ("deleted", [])

    def test_an_alias_that_is_learned_later_counts(self, env: StoreEnv) -> None:
        bsuid = "US.13491208655302741918"
        row_id = sent(env, VICTIM, "wamid.2")
        receive(env, line(env, VICTIM, "wamid.1"), edit(env, bsuid), edit(env, bsuid, "wamid.2", from_me=True))
        assert self.look_again(env) == 2
        assert self.stored(env) == "before"
        env.store.run(lambda transaction: transaction.rows("learn_aliases", **_one_person(env, bsuid, VICTIM)))
        assert self.look_again(env) == 2
        assert (self.stored(env), env.row(row_id)["content"]["body"]) == ("after", "after")

    @staticmethod
    def stored(env: StoreEnv) -> str:
        (row,) = query(env.url, "SELECT content FROM inbound_messages WHERE provider_id = 'wamid.1'")
        return str(row["content"]["body"])

    def test_one_that_two_processes_hold_at_once_is_not_lost(self, env: StoreEnv) -> None:
        """Message and edit come by two webhooks; neither transaction sees the other's row."""

        def with_the_edit(transaction: Any) -> None:
            inbound.insert(transaction, [(line(env, VICTIM, "wamid.1"), None)])
            env.store.run(inbound.insert, [(edit(env, VICTIM), None)])

        env.store.run(with_the_edit)
        assert self.stored(env) == "before"
        self.look_again(env)
        assert self.stored(env) == "after"

    def test_one_that_cannot_be_applied_stops_no_other(self, env: StoreEnv) -> None:
        receive(env, line(env, VICTIM, "wamid.2"), edit(env, VICTIM, "wamid.1"), edit(env, VICTIM, "wamid.2"))
        receive(env, edit(env, VICTIM, "wamid.3"))
        poison = """UPDATE inbound_messages SET look_again_at = now(), content = '{"target": "wamid.2", "content": 5}'
                    WHERE provider_id = 'edit of wamid.2'"""
        query(env.url, poison)
        receive(env, line(env, VICTIM, "wamid.1"))
        query(env.url, "UPDATE inbound_messages SET content = '{\"body\": \"before\"}' WHERE provider_id = 'wamid.1'")
        assert (self.look_again(env), self.stored(env)) == (3, "after")
        assert self.look_again(env) == 1, "the one without a message; what cannot be applied is left alone"

    def test_looking_again_makes_no_second_event_and_ends(self, env: StoreEnv) -> None:
        receive(env, line(env, VICTIM, "wamid.1"), edit(env, VICTIM), edit(env, VICTIM, "wamid.none"))
        query(env.url, "UPDATE inbound_messages SET look_again_at = now() WHERE type = 'edit'")
        asyncio.run(apply_parked(env.store))
        counted = "SELECT count(*) AS found FROM events_messages WHERE type = 'message.edited'"
        assert query(env.url, counted) == [{"found": 1}]
        query(env.url, "UPDATE inbound_messages SET created_at = now() - interval '8 days'")
        assert (self.look_again(env), self.look_again(env)) == (1, 0)


def _one_person(env: StoreEnv, first: str, second: str) -> Mapping[str, Any]:
    return {
        "connection_ids": [env.connection],
        "firsts": [first],
        "seconds": [second],
        "instants": [LONG_AGO],
        "moves": [True],
    }


@pytest.mark.parametrize(
    ("event", "left"),
    [
        ({"event": "message", "id": "m1", "body": "x"}, {}),
        ({"event": "edit", "id": "m1", "edit": "e1", "body": "x"}, {}),
        (
            {
                "entry": [
                    {"messaging": [{"message": {"mid": "m1"}}, {"message": {"mid": "m2", "reply_to": {"mid": "m1"}}}]}
                ]
            },
            {"entry": [{"messaging": [{"message": {"mid": "m2", "reply_to": {"mid": "m1"}}}]}]},
        ),
        ({"entry": [{"messaging": [{"message_edit": {"mid": "m1", "text": "x"}}]}]}, {"entry": [{"messaging": []}]}),
    ],
    ids=["page", "edit of a page", "Messenger", "edit of Messenger"],
)
def test_a_raw_event_without_a_message(event: Mapping[str, Any], left: Mapping[str, Any]) -> None:
    assert json.loads(erasure.without_messages(json.dumps(event).encode(), {"m1"})) == left


@pytest.mark.parametrize("body", [b"\xff", b"{", b"[" * 200_000 + b"]" * 200_000], ids=["bytes", "cut", "deep"])
def test_a_raw_event_that_cannot_be_taken_apart_is_removed_whole(body: bytes) -> None:
    assert erasure.without_messages(body, {"m1"}) == erasure.EMPTY


def test_what_was_deleted_before_this_version_loses_its_content_too(own_env: StoreEnv) -> None:
    env = own_env
    backend = yoyo.get_backend(env.url)
    later = [one for one in yoyo.read_migrations(str(migrate.migrations_directory())) if one.id >= "0075"]
    backend.rollback_migrations(backend.to_rollback(yoyo.migrations.MigrationList(later)))
    backend.connection.close()
    query(
        env.url,
        """INSERT INTO inbound_journal (id, process_name, source, body, processed_at)
           OVERRIDING SYSTEM VALUE VALUES (1, 'meta', 'meta', %(body)s, now());
           INSERT INTO inbound_messages (company_id, connection_id, journal_id, provider_id, chat_id, sender, type,
                                         content, context, at, state)
           SELECT 'acme', %(connection)s, r.journal_id, r.name, 'chat', 'chat', r.type, r.content::jsonb,
                  r.context::jsonb, now(), r.state
           FROM (VALUES (1, 'm1', 'text', '{"body": "sekrit"}', '{"a": "sekrit"}', 'deleted'),
                        (NULL, 'e1', 'edit', '{"target": "m1", "body": "sekrit"}', '{}', 'received'),
                        (NULL, 'r1', 'revoke', '{"target": "m1"}', '{}', 'received'),
                        (NULL, 'm2', 'text', '{"body": "stays"}', '{}', 'received'))
                AS r(journal_id, name, type, content, context, state);
           INSERT INTO messages (id, company_id, connection_id, process_name, chat_id, type, content, state, error_code)
           VALUES (101, 'acme', %(connection)s, 'meta', 'chat', 'text', '{"body": "sekrit"}', 'deleted', ''),
                  (102, 'acme', %(connection)s, 'meta', 'chat', 'text', '{"body": "stays"}', 'deleted', 'cancelled')""",
        connection=env.connection,
        body=json.dumps({"messages": [{"id": "m1", "text": SECRET}, {"id": "m2", "text": "stays"}]}).encode(),
    )
    migrate.apply(env.url)
    erase_copies(env)
    assert places(env) == []
    assert len([row for row in query(env.url, EVERYWHERE) if "stays" in row["text"]]) == 3
    assert query(env.url, "SELECT content ? 'deleted_at' AS dated FROM inbound_messages WHERE provider_id = 'm1'") == [
        {"dated": True}
    ]
