"""What clients see of events: the catalogue, what each event is about, and positions that lead nowhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.http.schemas import SCHEMAS
from shared.events import public
from shared.events.catalogue import PUBLIC_TYPES, Selection, public_type
from shared.events.public import PositionExpired, PositionUnknown, PublicEvent
from shared.events.reader import Position
from shared.events.schemas import EVENT_SCHEMAS, SCHEMA_OF, example
from shared.events.types import EVENT_TYPES, SUBJECTS
from shared.inbound_events import AccountEvent
from shared.messages import InboundMessage
from shared.states import MessageState
from shared.store import connections, events, inbound, messages, partitions
from shared.store.pool import Transaction
from shared.store.store import Store
from tests.store.env import StoreEnv
from tests.support.database import query

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ALL_OF_ACME = Selection(company_id="acme")


def arrived(connection_id: int, name: str, **given: Any) -> InboundMessage:
    content = given.pop("content", {"body": name})
    fields = {"chat_id": "15550100200", "sender": "15550100200", "type": "text", "at": NOW, "from_me": False}
    return InboundMessage(connection_id=connection_id, provider_id=name, content=content, **{**fields, **given})


@pytest.fixture
def connection(env: StoreEnv) -> int:
    """A connection; what its own making wrote is behind the start of each test."""
    return env.connect()


@pytest.fixture
def start(env: StoreEnv, connection: int) -> Position:
    return Position(env.store.run(events.horizon).oldest)


def found(store: Store, start: Position, selection: Selection = ALL_OF_ACME) -> list[PublicEvent]:
    return list(store.run(public.read, selection, start, most=100).events)


def shown(store: Store, start: Position, selection: Selection = ALL_OF_ACME) -> list[dict[str, Any]]:
    """Return the events, each checked against its schema."""
    page = found(store, start, selection)
    components = {"components": {"schemas": SCHEMAS}}
    bodies = [json.loads(event.body) for event in page]
    for event, body in zip(page, bodies, strict=True):
        Draft202012Validator({**EVENT_SCHEMAS["Event"], **components}).validate(body)
        Draft202012Validator({**EVENT_SCHEMAS[SCHEMA_OF[event.row.shape]], **components}).validate(body["data"])
        assert Position.parse(body["id"]) == event.position
    return bodies


def test_what_comes_in_is_an_event_of_the_same_transaction(env: StoreEnv, connection: int, start: Position) -> None:
    def write_and_fail(transaction: Any) -> None:
        inbound.insert(transaction, [(arrived(connection, "lost"), None)])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        env.store.run(write_and_fail)
    env.store.run(inbound.insert, [(arrived(connection, "kept"), None)])
    env.store.run(inbound.insert, [(arrived(connection, "kept"), None)])
    (event,) = shown(env.store, start)
    assert (event["type"], event["companyId"], event["at"]) == ("message.received", "acme", "2026-11-30T12:00:00.000Z")
    message = event["data"]["message"]
    assert (message["direction"], message["message"], message["chatId"]) == ("in", "kept", "15550100200")
    assert event["data"]["messageId"] == message["id"]


def test_what_is_written_by_hand_is_not_received(env: StoreEnv, connection: int, start: Position) -> None:
    env.store.run(inbound.insert, [(arrived(connection, "by hand", from_me=True), None)])
    (event,) = shown(env.store, start)
    assert (event["type"], event["data"]["message"]["direction"]) == ("message.echoed", "out")


def test_an_edit_and_a_revoke_are_events_of_the_message_that_they_change(
    env: StoreEnv, connection: int, start: Position
) -> None:
    for message in (
        arrived(connection, "first"),
        arrived(connection, "e", type="edit", content={"target": "first", "body": "changed"}),
        arrived(connection, "r", type="revoke", content={"target": "first"}),
    ):
        env.store.run(inbound.insert, [(message, None)])
    seen = shown(env.store, start)
    assert [event["type"] for event in seen] == ["message.received", "message.edited", "message.deleted"]
    assert len({event["data"]["messageId"] for event in seen}) == 1
    assert seen[0]["data"]["message"]["deleted"], "shown as it is now"


def test_a_life_of_a_message_of_ours(env: StoreEnv, connection: int, start: Position) -> None:
    (row,) = env.accept("15550100200")
    env.claim([row])
    env.settle(row, MessageState.SENT, provider_id="wamid.1")
    seen = shown(env.store, start)
    assert [(event["type"], event["data"]["status"]) for event in seen] == [("message.sent", "sent")]
    assert seen[0]["data"]["message"]["id"] == str(row)
    assert "history" not in seen[0]["data"]["message"]


def test_a_message_that_was_left_to_a_human_is_held(env: StoreEnv, connection: int, start: Position) -> None:
    (row,) = env.accept("15550100200")
    env.claim([row])
    env.settle(row, MessageState.IN_DOUBT, code="timeout")
    assert shown(env.store, start) == []
    assert env.store.run(messages.hold, message_id=row, attempt=1, code="no_evidence", incarnation="meta-0.a")
    (event,) = shown(env.store, start)
    assert (event["type"], event["data"]["error"]) == ("message.held", {"code": "no_evidence", "detail": None})


def test_a_deleted_message_stops_no_reader(env: StoreEnv, connection: int, start: Position) -> None:
    env.store.run(inbound.insert, [(arrived(connection, "gone"), None), (arrived(connection, "here"), None)])
    query(env.url, "DELETE FROM inbound_messages WHERE provider_id = 'gone'")
    seen = shown(env.store, start)
    assert [event["data"]["message"] and event["data"]["message"]["message"] for event in seen] == [None, "here"]
    # neither does a connection that is gone
    query(
        env.url,
        "INSERT INTO events (subject, type, company_id, connection_id) VALUES "
        "('connection', 'connection.paused', 'acme', 424242)",
    )
    assert shown(env.store, start)[-1]["data"] == {"phoneIndex": None, "connectionType": None, "detail": None}


def test_an_event_shows_no_message_of_another_company(env: StoreEnv, connection: int, start: Position) -> None:
    env.store.run(inbound.insert, [(arrived(connection, "secret"), None)])
    row = query(env.url, "SELECT id FROM inbound_messages")[0]["id"]
    query(
        env.url,
        "INSERT INTO events (subject, type, company_id, message_id) VALUES "
        "('message', 'message.received', 'other', %(row)s)",
        row=row,
    )
    (event,) = shown(env.store, start, Selection(company_id="other"))
    assert event["data"]["message"] is None
    assert len(shown(env.store, start)) == 1


def test_connections_and_templates(env: StoreEnv, start: Position) -> None:
    made = env.store.run(
        connections.add,
        company_id="acme",
        phone_index=5,
        connection_type="meta_direct",
        account_id="",
        waba_id="",
        options={},
    )
    assert made is not None
    connection_id = query(env.url, "SELECT id FROM phone_configs WHERE phone_index = 5")[0]["id"]
    env.store.run(connections.pause, connection_id, "for lunch")
    # a template is known in the world of its connection
    query(env.url, "UPDATE phone_configs SET world = 'live' WHERE id = %(id)s", id=connection_id)
    query(
        env.url,
        "INSERT INTO templates (connection_id, world, name, language, status) "
        "VALUES (%(id)s, 'live', 'hi', 'en', 'PENDING')",
        id=connection_id,
    )
    from meta.inbound import account_events  # noqa: PLC0415 - the one writer of this event

    env.store.run(
        account_events.apply,
        [
            AccountEvent(
                account_id="1",
                kind="message_template_status_update",
                value={"event": "APPROVED", "message_template_name": "hi", "message_template_language": "en"},
                at=NOW,
                name="n",
                connection_ids=(connection_id,),
            )
        ],
    )
    seen = shown(env.store, start)
    assert [event["type"] for event in seen] == ["connection.created", "connection.paused", "template.updated"]
    assert seen[1]["data"] == {"phoneIndex": 5, "connectionType": "meta_direct", "detail": "for lunch"}
    assert (seen[2]["data"]["name"], seen[2]["data"]["status"]) == ("hi", "APPROVED")


def test_processes_are_the_installations(env: StoreEnv, start: Position) -> None:
    query(
        env.url,
        "INSERT INTO events (subject, type, kind, slot, data) VALUES "
        "('process', 'process.exited', 'meta', 'meta-0', '{\"boot\": \"b\", \"seq\": 1, \"detail\": {\"code\": 1}}')",
    )
    (event,) = shown(env.store, start, Selection(company_id=None))
    assert (event["type"], event["companyId"]) == ("process.exited", None)
    assert event["data"] == {"kind": "meta", "slot": "meta-0", "incarnation": None, "detail": {"code": 1}}
    assert shown(env.store, start) == []
    with pytest.raises(ValueError, match="process"):
        Selection(company_id="acme", types=frozenset({"process.*"}))


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ({"message.received"}, ["message.received"]),
        ({"message.*"}, ["message.received", "message.echoed"]),
        ({"session.*"}, []),
        (set(), ["message.received", "message.echoed"]),
    ],
)
def test_only_what_was_selected(
    env: StoreEnv, connection: int, start: Position, types: set[str], expected: list[str]
) -> None:
    env.store.run(inbound.insert, [(arrived(connection, "a"), None), (arrived(connection, "b", from_me=True), None)])
    assert [
        event["type"] for event in shown(env.store, start, Selection(company_id="acme", types=frozenset(types)))
    ] == expected


def test_one_chat_has_one_name_whichever_name_its_messages_have(
    env: StoreEnv, connection: int, start: Position
) -> None:
    query(env.url, "SELECT 1")
    env.store.run(
        inbound.insert,
        [
            (arrived(connection, "a"), None),
            (arrived(connection, "b", chat_id="15550100201"), None),
            (arrived(connection, "c"), None),
        ],
    )
    first, second, third = (event.conversation for event in found(env.store, start))
    assert first == third != second


def test_a_position_whose_followers_were_dropped_is_refused(env: StoreEnv, connection: int, start: Position) -> None:
    query(
        env.url,
        "INSERT INTO events (written_at, subject, type, company_id) "
        "VALUES (now() - interval '40 days', 'session', 'session.state', 'acme')",
    )
    env.store.run(partitions.make_partitions)
    assert [event["type"] for event in shown(env.store, start)] == ["session.state"]
    assert env.store.run(partitions.drop_partitions, "events_others", age_s=0.0) == 1
    with pytest.raises(PositionExpired):
        found(env.store, start)
    assert found(env.store, start, Selection(company_id="acme", types=frozenset({"message.*"}))) == []
    assert found(env.store, Position()) is not None, "from the beginning is from what there is"
    after = Position(**query(env.url, "SELECT xid, id FROM event_horizons")[0])
    assert found(env.store, after) == []


def test_a_position_of_another_database_is_refused(env: StoreEnv) -> None:
    with pytest.raises(PositionUnknown):
        found(env.store, Position(1 << 60, 0))


@pytest.mark.parametrize("text", ["", "1", "1-", "-1-1", "1-1-1", "a-b", "1 -1", f"{1 << 63}-1", "１-1", "1-1\n"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="position"):
        Position.parse(text)
    assert Position.parse(str(Position(12, 7))) == Position(12, 7)


def test_the_catalogue_is_made_of_types_that_there_are() -> None:
    for row in PUBLIC_TYPES:
        source = row.made_of or row.name
        assert source.partition(".")[0] in SUBJECTS
        # those of sessions are listed where they arise
        assert source.endswith(".*") or source.startswith("session.") or source in EVENT_TYPES, source
        body = example(row)
        components = {"components": {"schemas": SCHEMAS}}
        Draft202012Validator({**EVENT_SCHEMAS["Event"], **components}).validate(body)
        Draft202012Validator({**EVENT_SCHEMAS[SCHEMA_OF[row.shape]], **components}).validate(body["data"])
    assert public_type("message.queued") is None
    assert public_type("account.flows") is None


@pytest.mark.parametrize("is_known", [True, False])
def test_an_event_is_found_without_a_look_at_the_others(env: StoreEnv, is_known: bool) -> None:
    """What waits for a webhook is looked up by its position; a day has millions of others."""
    add = (
        "INSERT INTO events (subject, type, company_id, message_id) "
        "SELECT 'message', 'message.sent', NULL, n FROM generate_series(%(first)s::int, %(last)s::int) n RETURNING 1"
    )
    pages = (
        "SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class WHERE relname LIKE 'events%' AND "
        "relkind IN ('r', 'i')"
    )

    def looked_up(transaction: Transaction) -> int:
        transaction._cursor.execute("SELECT xid, id, message_id FROM events WHERE message_id <= 20")
        positions = {Position(xid, number): about for xid, number, about in transaction._cursor.fetchall()}
        transaction._cursor.execute(pages)
        (before,) = transaction._cursor.fetchone()
        found = events.at(
            transaction, [(one.xid, one.id, about if is_known else None) for one, about in positions.items()]
        )
        assert [event.message_id for event in found] == list(range(1, 21))
        transaction._cursor.execute(pages)
        (after,) = transaction._cursor.fetchone()
        return int(after - before)

    # New files, as those of a day are. Once autovacuum has freed pages of earlier tests, a BRIN range has old events
    # beside new ones, so that each range may have the event that is looked for.
    query(env.url, "TRUNCATE events; ANALYZE events")
    for number in range(1, 21):
        query(env.url, add, first=number, last=number)
    few = env.store.run(looked_up)
    for first in range(21, 40_000, 4_000):
        query(env.url, add, first=first, last=first + 3_999)
    # as autovacuum does when a range is full
    query(
        env.url,
        "SELECT brin_summarize_new_values(c.oid) FROM pg_class c JOIN pg_am a ON a.oid = c.relam "
        "WHERE a.amname = 'brin' AND c.relkind = 'i' AND c.relname LIKE 'events_messages%'",
    )
    assert env.store.run(looked_up) < 2 * few
