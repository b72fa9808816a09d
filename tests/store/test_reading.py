"""Chats, lists, searches and figures are exactly what the rows say, whatever happened in between."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from shared.clock import monotonic
from shared.messages import InboundMessage, Receipt
from shared.states import MessageState
from shared.store import contacts, inbound, interventions, messages, people, reading
from shared.store.people import OnePerson
from shared.store.reading import ChatPosition, FigureFilter, MessageFilter
from tests.store.env import StoreEnv
from tests.support.database import query

FIRST = ChatPosition(datetime.max.replace(tzinfo=UTC), "", 0)
NEWEST = (datetime.max.replace(tzinfo=UTC), 2**62)
EVER = MessageFilter(since=datetime(1970, 1, 1, tzinfo=UTC))
REACHED = {"sent": 1, "delivered": 2, "read": 3}
CHATS = [f"1555010020{number}" for number in range(5)]
ACTS = ("accept", "receive", "send", "send", "fail", "report", "report", "cancel", "delete", "redrive")
KEYS = ("day", "phone_index", "connection_type", "type")


def advance(env: StoreEnv, most: int = 2000) -> None:
    # what is below the horizon; later transactions of this very loop are not followed
    (row,) = query(env.url, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon")
    while not env.store.run(reading.advance, most_transactions=most).complete:
        if env.store.run(reading.position) >= row["horizon"]:
            break


def came(env: StoreEnv, chat: str, provider_id: str, body: str = "hello", **fields: Any) -> int:
    line = InboundMessage(
        connection_id=fields.pop("connection_id", env.connection),
        provider_id=provider_id,
        chat_id=chat,
        sender=chat,
        type=fields.pop("type", "text"),
        content={"body": body} | fields.pop("content", {}),
        at=fields.pop("at", datetime.now(UTC)),
        **fields,
    )
    return int(env.store.run(inbound.insert, [(line, None)])[0]["id"])


def chats(env: StoreEnv, *, most: int = 50, before: ChatPosition = FIRST, **named: Any) -> list[Any]:
    return env.store.run(
        reading.chats, company_id="acme", before=before, connection_id=named.get("connection_id"), most=most
    )


def facts(env: StoreEnv) -> dict[str, Any]:
    return {row["chat_id"]: row for row in env.store.run(reading.chat_facts, "acme", chats(env))}


def found(env: StoreEnv, words: str, number: str = "", company: str = "acme") -> list[str]:
    rows = env.store.as_company(company).run(
        reading.chats_found,
        before=FIRST,
        connection_id=None,
        most=50,
        number=number,
        words=words,
    )
    return [row["chat_id"] for row in rows]


def listed(env: StoreEnv, most: int = 50, **selection: Any) -> list[int]:
    ids, before = [], NEWEST
    while True:
        page, following = env.store.as_company("acme").run(
            reading.listed, "acme", MessageFilter(since=EVER.since, **selection), before=before, most=most
        )
        ids += [message_id for _, message_id in page]
        if following is None:
            return ids
        before = following


def outcome(env: StoreEnv, row: Any) -> str:
    """Return the outcome of a message of ours, from its row and its events."""
    if row["state"] in ("queued", "sending", "in_doubt"):
        return "open"
    if row["state"] == "failed" or (row["state"] == "deleted" and row["sent_at"] is None):
        return "failed" if row["state"] == "failed" else "cancelled"
    steps = query(env.url, "SELECT state FROM events WHERE message_id = %(id)s", id=row["id"])
    reached = max(REACHED.get(step["state"], 0) for step in [*steps, row])
    return {number: name for name, number in REACHED.items()}[max(1, reached)]


def expected(env: StoreEnv) -> tuple[Counter[Any], Counter[Any]]:
    """Return counts by key and outcome, and by key, step and bucket, from the rows themselves."""
    counts: Counter[Any] = Counter()
    times: Counter[Any] = Counter()
    connections = {row["id"]: row for row in query(env.url, "SELECT * FROM phone_configs")}
    for row in query(env.url, "SELECT * FROM messages WHERE company_id = 'acme'"):
        connection = connections[row["connection_id"]]
        key = (
            row["created_at"].astimezone(UTC).date(),
            connection["phone_index"],
            connection["connection_type"],
            row["type"],
        )
        counts[*key, outcome(env, row)] += 1
        for step, states in (("sent", ["sent", "delivered", "read"]), ("delivered", ["delivered", "read"])):
            (first,) = query(
                env.url,
                """SELECT latency_bucket(min(written_at) - %(due)s) AS bucket FROM events
                   WHERE message_id = %(id)s AND state = ANY(%(states)s)""",
                id=row["id"],
                states=states,
                due=row["created_at"],
            )
            if first["bucket"] is not None:
                times[*key, step, first["bucket"]] += 1
    for row in query(env.url, "SELECT * FROM inbound_messages WHERE company_id = 'acme' AND type <> 'revoke'"):
        connection = connections[row["connection_id"]]
        key = (
            row["created_at"].astimezone(UTC).date(),
            connection["phone_index"],
            connection["connection_type"],
            row["type"],
        )
        counts[*key, "echoed" if row["from_me"] else "received"] += 1
    return counts, times


def rolled_up(env: StoreEnv) -> tuple[Counter[Any], Counter[Any]]:
    selection = FigureFilter(
        since=date(2000, 1, 1), until=date(2100, 1, 1), groups=frozenset(("day", "connection", "channel", "type"))
    )
    counts, times = env.store.run(reading.figures, "acme", selection)
    return (
        Counter({(*(row[name] for name in KEYS), row["outcome"]): row["messages"] for row in counts}),
        Counter({(*(row[name] for name in KEYS), row["step"], row["bucket"]): row["messages"] for row in times}),
    )


def live(env: StoreEnv, rng: random.Random, mine: list[int], number: int) -> None:
    """Do one thing that may happen to messages."""
    act = rng.choice(ACTS)
    if act == "accept":
        (row_id,) = env.accept(f"1555010{number:04}", type=rng.choice(("text", "image")))
        # accepted some time ago: at once, minutes, or days
        env.set(row_id, "created_at = created_at - make_interval(secs => %(age)s)", age=rng.choice((0, 5, 700, 90000)))
        mine.append(row_id)
        return
    if act == "receive":
        came(env, rng.choice(CHATS), f"wamid.in.{number}", from_me=rng.random() < 0.2)
        return
    if not mine:
        return
    row_id = rng.choice(mine[-8:])
    state = env.state(row_id)
    if act in ("send", "fail") and state == "queued":
        env.claim([row_id])
        settled = MessageState.SENT if act == "send" else MessageState.FAILED
        env.settle(row_id, settled, provider_id=f"wamid.{row_id}" if act == "send" else "")
    elif act == "report" and state not in ("queued", "sending"):
        to = rng.choice((MessageState.SENT, MessageState.DELIVERED, MessageState.READ, MessageState.FAILED))
        env.receipts(
            Receipt(
                connection_id=env.connection,
                state=to,
                at=datetime.now(UTC) - timedelta(seconds=rng.randrange(60)),
                provider_id=f"wamid.{row_id}",
                extra={"status": str(to)},
            )
        )
    elif act == "cancel" and state == "queued":
        env.store.run(interventions.cancel, company_id="acme", chat_id=env.row(row_id)["chat_id"], message_id=row_id)
    elif act == "delete" and state in ("sent", "delivered", "read"):
        came(
            env,
            env.row(row_id)["chat_id"],
            f"revoke.{number}",
            type="revoke",
            content={"target": f"wamid.{row_id}"},
            from_me=True,
        )
    elif act == "redrive" and state == "failed":
        env.store.run(interventions.redrive, company_id="acme", message_id=row_id)


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_the_rows_after_any_history(own_env: StoreEnv, seed: int) -> None:
    rng, env = random.Random(seed), own_env
    mine: list[int] = []
    for number in range(150):
        live(env, rng, mine, number)
        if rng.random() < 0.15:
            advance(env, most=rng.choice((5, 50, 2000)))
    advance(env)
    counts, times = expected(env)
    assert rolled_up(env) == (counts, times)
    assert len({key[-1] for key in counts}) > 5, "a history in which nearly everything happened"
    assert times.total() > 5
    # read again from the beginning, nothing is counted twice
    query(env.url, "UPDATE reading_positions SET xid = 1, read_at = '2020-01-01' WHERE name = 'messages'")
    advance(env, most=10**6)
    assert rolled_up(env)[0] == counts
    # what is deleted stays counted, also when a status comes late
    query(env.url, "DELETE FROM messages; DELETE FROM inbound_messages")
    advance(env)
    assert rolled_up(env) == (counts, times)


@pytest.mark.parametrize("first", ["echo", "id", "echo, indexed"])
def test_the_echo_of_our_own_message_is_no_second_line(env: StoreEnv, first: str) -> None:
    """The provider may report what we sent before its answer, with the id by which an echo is known, is stored."""
    chat = "15550100201"
    (ours,) = env.accept(chat)
    env.claim([ours])

    def echo() -> None:
        line = InboundMessage(
            connection_id=env.connection,
            provider_id="wamid.ours",
            chat_id=chat,
            sender="15550100000",
            type="text",
            content={"body": "hello"},
            at=datetime.now(UTC),
            from_me=True,
        )
        env.store.run(inbound.insert, [(line, None)])

    if first == "id":
        env.settle(ours, MessageState.SENT, provider_id="wamid.ours")
    echo()
    by_hand = came(env, chat, "wamid.hand", from_me=True)
    if first == "echo, indexed":
        advance(env)
    if first != "id":
        assert len(listed(env)) == 3, "as long as nothing tells them apart"
        # an edit on the phone takes hold on the line that there is
        words = {"target": "wamid.ours", "body": "edited"}
        came(env, chat, "wamid.edit", type="edit", content=words, from_me=True)
        env.settle(ours, MessageState.SENT, provider_id="wamid.ours")
    # an edit of ours has the id of what it edits
    (edit,) = env.accept(chat, type="edit", content={"target": "wamid.hand", "body": "y"})
    env.claim([edit])
    env.settle(edit, MessageState.SENT, provider_id="wamid.hand")
    advance(env)
    assert listed(env, type="text") == [by_hand, ours]
    counts = {key[3:]: number for key, number in rolled_up(env)[0].items()}
    assert counts["text", "echoed"] == counts["text", "sent"] == 1
    if first != "id":
        env.store.run(inbound.apply_parked, env.store.run(inbound.parked, most=10))
        assert env.row(ours)["content"]["body"] == "edited"
    # read again from the beginning, nothing else goes
    query(env.url, "UPDATE reading_positions SET xid = 1, read_at = '2020-01-01' WHERE name = 'messages'")
    advance(env, most=10**6)
    assert listed(env, type="text") == [by_hand, ours]


def test_a_list_holds_what_the_copies_lack(env: StoreEnv) -> None:
    old = came(env, "15550100201", "wamid.1", at=datetime.now(UTC) - timedelta(hours=1))
    advance(env)
    assert [row["chat_id"] for row in chats(env)] == ["15550100201"]
    new = came(env, "15550100202", "wamid.2")
    (ours,) = env.accept("15550100201")
    # the copies are as before
    assert [row["chat_id"] for row in chats(env)] == ["15550100201", "15550100202"]
    assert listed(env) == [ours, new, old]
    before = [(row["chat_id"], row["last_at"]) for row in chats(env)], listed(env)
    advance(env)
    assert ([(row["chat_id"], row["last_at"]) for row in chats(env)], listed(env)) == before


def test_a_person_with_two_ids_is_one_chat_at_the_place_of_the_newer(env: StoreEnv) -> None:
    now = datetime.now(UTC)
    for minutes, chat in ((40, "15550100201"), (30, "US.1"), (20, "15550100202"), (10, "15550100203")):
        came(env, chat, f"wamid.{chat}", at=now - timedelta(minutes=minutes))
    advance(env)
    env.store.run(people.learn, [OnePerson(connection_id=env.connection, first="15550100201", second="US.1")])
    assert [row["chat_id"] for row in chats(env)] == ["15550100203", "15550100202", "US.1"]
    assert set(facts(env)["US.1"]["chat_ids"]) == {"15550100201", "US.1"}
    # before the copies have it
    came(env, "15550100201", "wamid.new")
    assert [row["chat_id"] for row in chats(env)] == ["15550100201", "15550100203", "15550100202"]
    pages, before = [], FIRST
    while page := chats(env, most=1, before=before):
        pages += [row["chat_id"] for row in page]
        before = ChatPosition(page[-1]["last_at"], page[-1]["chat_id"], page[-1]["connection_id"])
    assert pages == ["15550100201", "15550100203", "15550100202"]


def test_unread_is_what_came_in_since_a_mark_or_an_answer(env: StoreEnv) -> None:
    chat = "15550100201"

    def unread() -> int:
        return int(facts(env)[chat]["unread"])

    ids = [came(env, chat, f"wamid.{number}") for number in range(3)]
    came(env, chat, "wamid.history", may_trigger=False)
    assert unread() == 3
    mark = {"company_id": "acme", "chat_id": chat}
    assert env.store.run(reading.mark_read, **mark, message_id=ids[1]) is not None
    assert unread() == 1
    assert env.store.run(reading.mark_read, **mark, message_id=ids[0]) is not None
    assert unread() == 1, "never back"
    assert env.store.run(reading.mark_read, **mark, message_id=10**9) is None
    assert env.store.run(reading.mark_read, company_id="acme", chat_id="15550100777", message_id=None) is None
    came(env, chat, "wamid.4")
    assert unread() == 2
    came(env, chat, "wamid.revoke", type="revoke", content={"target": "wamid.4"})
    assert unread() == 1, "a message that its author took back"
    env.accept(chat, type="reaction")
    assert unread() == 1, "a reaction is no answer"
    env.accept(chat)
    assert unread() == 0
    came(env, chat, "wamid.5")
    came(env, chat, "wamid.phone", from_me=True)
    assert unread() == 0, "an answer on the phone"
    for number in range(120):
        came(env, chat, f"wamid.many.{number}")
    assert unread() == 100, "that many or more"


def test_search_finds_any_word_and_the_beginning_of_the_last_in_one_company(env: StoreEnv) -> None:
    other = env.connect("globex")
    came(env, "15550100201", "wamid.1", "Our refund policy allows returns")
    edited = came(env, "15550100202", "wamid.2", "Guten Tag")
    env.accept("15550100203", content={"caption": "the parcel's label"}, type="image")
    came(env, "15550100204", "wamid.3", "refund", connection_id=other)
    advance(env)
    assert found(env, "what is your refund polic") == ["15550100201"]
    assert found(env, "polic refund") == ["15550100201"], "any of the words"
    assert found(env, "polic nothing") == [], "only the last word goes on"
    assert found(env, "parcel's 'or' & !label:*") == ["15550100203"]
    assert found(env, "!!! ???") == []
    assert found(env, "refund", company="globex") == ["15550100204"]
    assert found(env, "\\' | acme") == []
    assert found(env, "1555", number="1555010020") == ["15550100203", "15550100202", "15550100201"]
    came(env, "15550100202", "wamid.edit", type="edit", content={"target": "wamid.2", "body": "Auf Wiedersehen"})
    advance(env)
    assert found(env, "wiederseh") == ["15550100202"]
    assert found(env, "guten") == []
    came(env, "15550100202", "wamid.revoke", type="revoke", content={"target": "wamid.2"})
    advance(env)
    assert found(env, "wiederseh") == [], "the words of a deleted message are gone"
    assert query(env.url, "SELECT words FROM message_index WHERE message_id = %(id)s", id=edited) == [{"words": None}]


def test_a_search_with_two_conditions_takes_no_product_of_them(own_env: StoreEnv) -> None:
    """A word that all contacts have, with a tag that none has, or with one chat of very many."""
    rows = 40_000
    query(
        own_env.url,
        f"""INSERT INTO people (company_id, id, name, first_seen_at, last_seen_at)
            SELECT 'acme', g, 'common ' || g, now(), now() FROM generate_series(1, {rows}) AS g;
            INSERT INTO message_index (message_id, company_id, connection_id, chat_id, direction, type, state, at,
                                       words, day, phone_index, connection_type, outcome)
            SELECT g, 'acme', %(connection)s, 'c' || g, 'in', 'text', 'received', now(), words, now(), 0, 'meta_direct',
                   'received'
            FROM message_words('acme', '{{"body": "common"}}') AS words, generate_series(1, {rows}) AS g""",
        connection=own_env.connection,
    )
    own = own_env.store.as_company("acme")
    began = monotonic()
    people_found = own.run(contacts.found, after=0, most=50, words="common", number="", tag="none")
    chat = replace(EVER, words="common", chat_id="c7")
    messages_found, _ = own.run(reading.listed, "acme", chat, before=NEWEST, most=50)
    took_s = monotonic() - began
    assert (people_found, [message_id for _, message_id in messages_found]) == ([], [7])
    assert took_s < 1.0, "a tenth is usual"


def test_messages_are_listed_by_any_filter_in_pages_of_any_length(env: StoreEnv) -> None:
    second = env.connect("acme", 1, "wwebjs")
    now = datetime.now(UTC)
    rng = random.Random(7)
    for number in range(40):
        at = now - timedelta(minutes=rng.randrange(20))
        came(
            env,
            rng.choice(CHATS),
            f"wamid.{number}",
            f"word{number % 3}",
            at=at.replace(microsecond=0),
            type=rng.choice(("text", "image")),
            connection_id=rng.choice((env.connection, second)),
        )
        if number == 30:
            advance(env)
    (failed,) = env.accept("15550100201")
    env.claim([failed])
    env.settle(failed, MessageState.FAILED)
    rows = query(
        env.url,
        """SELECT * FROM message_lines WHERE company_id = 'acme' ORDER BY at DESC, id DESC""",
    )
    for selection in (
        {},
        {"direction": "out"},
        {"type": "image"},
        {"connection_id": second, "type": "text"},
        {"chat_id": CHATS[0]},
        {"state": "failed"},
        {"state": "received", "direction": "in"},
    ):
        matching = [row["id"] for row in rows if all(row[name] == value for name, value in selection.items())]
        for most in (1, 7, 100):
            assert listed(env, most=most, **selection) == matching, (selection, most)
    advance(env)
    of_a_word = [row["id"] for row in rows if (row["content"] or {}).get("body") == "word1"]
    assert listed(env, most=3, words="word1") == of_a_word


def test_marks_are_no_lines_unless_they_are_asked_for(env: StoreEnv) -> None:
    asked = came(env, "a", "wamid.asked")
    read, typing = env.accept("a", "a", type="read", content={"target": "wamid.asked"}), env.accept("a", type="typing")
    (answer,) = env.accept("a")
    for _ in range(2):
        page = env.store.run(messages.chat_page, company_id="acme", chat_id="a", before=NEWEST, most=2)
        assert [row["id"] for row in page] == [answer, asked]
        assert listed(env) == [answer, asked]
        assert listed(env, type="read") == read[::-1] and listed(env, type="typing") == typing
        assert facts(env)["a"]["message_id"] == answer
        # once as rows that the copies lack, and once from the copies
        advance(env)
    assert {key[3] for key in rolled_up(env)[0]} == {"text"}


def test_messages_from_before_are_indexed_by_steps(own_env: StoreEnv) -> None:
    env = own_env
    for number in range(25):
        came(env, CHATS[number % 5], f"wamid.{number}")
    env.accept(*CHATS)
    whole = listed(env)
    # as after an update of the program: nothing is known of what was there
    query(
        env.url,
        """UPDATE reading_positions SET xid = CASE name WHEN 'backfill' THEN (SELECT last_value + 1 FROM message_ids)
           ELSE pg_snapshot_xmin(pg_current_snapshot())::text::bigint END""",
    )
    came(env, CHATS[0], "wamid.new")
    advance(env)
    assert len(listed(env)) == 1
    steps = 0
    while not env.store.run(reading.backfill, most=7).complete:
        steps += 1
    assert steps > 3
    assert listed(env)[1:] == whole
    assert len(chats(env)) == 5
    assert rolled_up(env)[0] == expected(env)[0]
