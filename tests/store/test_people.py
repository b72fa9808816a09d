"""One person is one chat, by whatever name a client, a provider or an answer calls them; times are the provider's."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.inbound_events import Contact, ContactMove
from shared.messages import InboundMessage, Receipt, Sent
from shared.states import MessageState
from shared.store import contacts, inbound, marks, messages, people, targets, windows
from shared.store.contacts import ChangeRefused, Imported, Noted, Taken
from shared.store.observer import Unobserved
from shared.store.people import OnePerson, may_be_one_person
from shared.store.pool import Transaction
from tests.store.env import LONG_AGO, StoreEnv, side_by_side
from tests.support.database import query
from tests.support.waiting import deadline_s, eventually

BRAZIL = ("5531985168200", "553185168200")
MEXICO = ("5215535574468", "525535574468")
BSUID, NUMBER, LID = "CO.1092768832286042009", "573107619421", "77712345@lid"
NEWEST = (datetime.now(UTC) + timedelta(days=1), 2**62)
STORED = "wamid.HBgMMjAxMDE1NTAxMjY2FQIAEhggMDNDODJDNjMwRkZCNEE5MkEwNjhCMkRGRUZGRTFBQ0EA"
SCOPED = "wamid.HBgVRUcuMTQ0MjczODIzMDk5NzEzOTU0FRQAEhggMDNDODJDNjMwRkZCNEE5MkEwNjhCMkRGRUZGRTFBQ0EA"
"""Two spellings of one id: by the customer's number, and by the business-scoped user id."""


def came(env: StoreEnv, chat: str, provider_id: str, **fields: Any) -> InboundMessage:
    defaults: dict[str, Any] = {"content": {"body": "hello"}, "at": LONG_AGO, "sender": chat, "type": "text"}
    return InboundMessage(connection_id=env.connection, provider_id=provider_id, chat_id=chat, **(defaults | fields))


def receive(env: StoreEnv, *arrived: InboundMessage) -> None:
    env.store.run(inbound.insert, [(message, None) for message in arrived])


def sent(env: StoreEnv, chat: str, provider_id: str) -> int:
    (row_id,) = env.accept(chat)
    env.claim([row_id])
    env.settle(row_id, MessageState.SENT, provider_id=provider_id)
    return row_id


def page(env: StoreEnv, chat: str, most: int = 10) -> list[Any]:
    return env.store.run(messages.chat_page, company_id="acme", chat_id=chat, before=NEWEST, most=most)


def shown(env: StoreEnv, chat: str) -> list[str]:
    return [row["provider_id"] for row in page(env, chat)]


@pytest.mark.parametrize(
    ("first", "second", "may"),
    [
        (*BRAZIL, True),
        (*MEXICO, True),
        (BSUID, NUMBER, True),
        (LID, NUMBER, True),
        (BSUID, LID, True),
        ("US.1", "US.2", True),
        (NUMBER, NUMBER, False),
        (NUMBER, "573107619422", False),
        (BRAZIL[0], "15185168200", False),
        (LID, "88812345@lid", False),
        ("120363040000000000@g.us", NUMBER, False),
        ("Y2FwaV9ncm91cDox9ccc342a341a4280a7afc5ae25ZD", NUMBER, False),
        ("9429883183098646", NUMBER, False),
        ("", NUMBER, False),
    ],
)
def test_ids_that_may_be_one_person(first: str, second: str, may: bool) -> None:
    assert may_be_one_person(first, second) is may
    assert may_be_one_person(second, first) is may


@pytest.mark.parametrize(("ours", "theirs"), [BRAZIL, MEXICO, (NUMBER, LID), (NUMBER, BSUID)])
def test_an_answer_from_another_spelling_stands_in_the_chat_that_we_wrote_to(
    env: StoreEnv, ours: str, theirs: str
) -> None:
    sent(env, ours, "wamid.ours")
    receive(env, came(env, theirs, "in.1", content={"body": "yes", "quoted": "wamid.ours"}))
    for name in (ours, theirs):
        assert set(shown(env, name)) == {"wamid.ours", "in.1"}
        assert {row["chat_id"] for row in page(env, name)} == {name}
        (target,) = env.store.run(targets.find, "acme", "in.1")
        assert name in target.chat_ids
        at = env.store.run(windows.last_received_at, company_id="acme", connection_id=env.connection, chat_id=name)
        assert at == LONG_AGO


def test_a_status_and_the_answer_of_a_send_name_the_number_otherwise(env: StoreEnv) -> None:
    row_id = sent(env, BRAZIL[0], "wamid.1")
    receive(env, came(env, BRAZIL[1], "in.1"))
    assert shown(env, BRAZIL[0]) == ["wamid.1"], "nothing joins them yet"
    env.receipts(
        Receipt(
            connection_id=env.connection,
            state=MessageState.DELIVERED,
            at=LONG_AGO,
            provider_id="wamid.1",
            recipient=BRAZIL[1],
        )
    )
    assert shown(env, BRAZIL[0]) == ["wamid.1", "in.1"] == shown(env, BRAZIL[1])
    assert env.state(row_id) == "delivered"

    (row_id,) = env.accept(MEXICO[0])
    (message,) = env.claim([row_id])
    outcome = messages.settlement(message, Sent(provider_id="w", recipient=MEXICO[1]), attempts=5, wait_s=1.0)
    env.store.run(messages.settle, incarnation=message.incarnation, settlements=[outcome])
    receive(env, came(env, MEXICO[1], "in.2"))
    assert shown(env, MEXICO[0]) == ["w", "in.2"]


def test_a_user_id_first_and_the_number_later_are_one_chat(env: StoreEnv) -> None:
    receive(env, came(env, BSUID, "in.1"))
    sent(env, NUMBER, "wamid.1")
    both = Contact(connection_id=env.connection, user_id=BSUID, phone=NUMBER, at=LONG_AGO)
    for _ in range(2):
        env.store.run(inbound.see, [both])
    assert shown(env, BSUID) == shown(env, NUMBER) == ["wamid.1", "in.1"]
    # and the next user id of the same person
    env.store.run(
        inbound.see, [], [ContactMove(connection_id=env.connection, former=BSUID, user_id="CO.7", at=LONG_AGO)]
    )
    assert shown(env, "CO.7") == shown(env, NUMBER)


def test_a_number_that_was_given_up_is_not_its_owners_any_more(env: StoreEnv) -> None:
    receive(env, came(env, "15555689284", "in.old"))
    move = ContactMove(connection_id=env.connection, former="15555689284", phone="15555732184", at=LONG_AGO)
    env.store.run(inbound.see, [], [move])
    receive(env, came(env, "15555732184", "in.new"))
    assert (shown(env, "15555689284"), shown(env, "15555732184")) == (["in.old"], ["in.new"])


def test_no_chat_is_joined_with_a_groups_or_another_companys(env: StoreEnv) -> None:
    sent(env, "120363040000000000@g.us", "wamid.group")
    receive(env, came(env, NUMBER, "in.1", content={"body": "privately", "quoted": "wamid.group"}))
    assert shown(env, NUMBER) == ["in.1"]
    other = env.connect("globex")
    sent(env, BRAZIL[0], "wamid.1")
    theirs = replace(came(env, BRAZIL[1], "in.2", content={"body": "x", "quoted": "wamid.1"}), connection_id=other)
    receive(env, theirs)
    assert shown(env, BRAZIL[0]) == ["wamid.1"]


def test_links_that_are_made_at_once_make_one_person(env: StoreEnv) -> None:
    pairs = [(BSUID, NUMBER), (NUMBER, LID), (LID, "CO.7"), ("CO.7", "CO.8")]
    side_by_side(
        *[
            lambda pair=pair: query(
                env.url, "SELECT link_aliases('acme', %(first)s, %(second)s)", first=pair[0], second=pair[1]
            )
            for pair in pairs
        ]
    )
    assert len(query(env.url, "SELECT DISTINCT person_id FROM contact_aliases")) == 1
    assert len(query(env.url, "SELECT alias FROM contact_aliases")) == 5


def test_who_writes_while_being_merged_stays_one_contact(env: StoreEnv) -> None:
    """The statement that records the people of messages may have begun before a merge is committed."""
    receive(env, came(env, "15550100201", "in.1"), came(env, "15550100202", "in.2"))
    first, second = (row["id"] for row in query(env.url, "SELECT id FROM inbound_messages ORDER BY id"))
    env.store.run(contacts.see, [first, second])
    kept, other = (row["id"] for row in query(env.url, "SELECT id FROM people ORDER BY id"))
    # so that there is something to write
    query(env.url, "UPDATE people SET first_seen_at = now() + interval '1 day'")

    def waits() -> bool:
        return bool(query(env.url, "SELECT pid FROM pg_locks WHERE NOT granted AND locktype <> 'advisory'"))

    def merge(transaction: Transaction) -> Future[None]:
        contacts.merge(transaction, "acme", kept, other)
        later = threads.submit(env.store.run, contacts.see, [first, second])
        eventually(waits, within_s=10)
        return later

    with ThreadPoolExecutor() as threads:
        env.store.run(merge).result(deadline_s(10))
    assert query(env.url, "SELECT id FROM people") == [{"id": kept}]
    assert [row["type"] for row in query(env.url, "SELECT type FROM events WHERE subject = 'contact' ORDER BY id")] == [
        "contact.created",
        "contact.created",
        "contact.merged",
    ]


def test_an_id_that_is_known_without_a_message_is_imported(env: StoreEnv) -> None:
    env.store.run(people.learn, [OnePerson(connection_id=env.connection, first="15550100201", second="US.1")])
    one = Imported(alias="15550100201", noted=Noted(name="Ada"))
    assert env.store.run(contacts.take_in, "acme", [one, replace(one, alias="US.1")]) == [
        Taken.CREATED,
        Taken.UNCHANGED,
    ]
    (person,) = query(env.url, "SELECT id, name FROM people")
    assert person["name"] == "Ada"


def imported(alias: str, name: str | None = None, **fields: Any) -> Imported:
    return Imported(alias=alias, noted=Noted(name=name, fields=fields or None))


def test_people_of_a_file_are_written_together(env: StoreEnv) -> None:
    """Whatever their number, and as they would be one by one: a person may stand in several lines."""
    ran: list[str] = []

    class Counted(Unobserved):
        def statement_ran(self, name: str, seconds: float) -> None:
            ran.append(name)

    people = [imported(f"1555020{number:04}", f"Number {number}") for number in range(300)]
    env.store.run(contacts.take_in, "acme", people[:100])
    env.store.observe(Counted())
    assert env.store.run(contacts.take_in, "acme", people[:200]) == [Taken.UNCHANGED] * 100 + [Taken.CREATED] * 100
    assert len(ran) < 10, ran
    some = [
        people[200],
        imported("15550200200", "Ada", customer=1),
        imported("15550200200", "Ada"),
        imported("15550200200", **{f"field{number}": "x" for number in range(contacts.FIELDS_MOST)}),
        imported("15550200001", "Grace", tier="gold"),
        people[201],
    ]
    outcomes = env.store.run(contacts.take_in, "acme", some)
    assert isinstance(outcomes.pop(3), ChangeRefused)
    assert outcomes == [Taken.CREATED, Taken.UPDATED, Taken.UNCHANGED, Taken.UPDATED, Taken.CREATED]
    rows = query(
        env.url,
        """SELECT p.name, p.fields FROM people p JOIN contact_aliases a ON a.person_id = p.id
           WHERE alias IN ('15550200200', '15550200001') ORDER BY alias""",
    )
    assert [(row["name"], row["fields"]) for row in rows] == [("Grace", {"tier": "gold"}), ("Ada", {"customer": 1})]
    events = query(env.url, "SELECT type, data FROM events WHERE subject = 'contact' ORDER BY id DESC LIMIT 4")
    assert [(row["type"], row["data"]["aliases"], row["data"].get("changed")) for row in reversed(events)] == [
        ("contact.created", ["15550200200"], None),
        ("contact.updated", ["15550200200"], ["name", "customFields"]),
        ("contact.updated", ["15550200001"], ["name", "customFields"]),
        ("contact.created", ["15550200201"], None),
    ]


def test_a_person_that_is_changed_meanwhile_keeps_that_change(env: StoreEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, after a line of a file was compared with what is known and before it is written."""
    env.store.run(contacts.take_in, "acme", [imported("15550200300", "Ada")])
    (row,) = query(env.url, "SELECT id FROM people")
    by_hand: list[Future[Any]] = []
    compare = contacts._Batch.compare

    def waits() -> bool:
        return bool(query(env.url, "SELECT pid FROM pg_locks WHERE NOT granted AND locktype <> 'advisory'"))

    def compared(batch: contacts._Batch, *known: Any) -> Any:
        noted = Noted(fields={"byHand": "yes"})
        by_hand.append(threads.submit(env.store.run, contacts.change, "acme", row["id"], noted))
        eventually(lambda: waits() or by_hand[0].done(), within_s=10)
        return compare(batch, *known)

    monkeypatch.setattr(contacts._Batch, "compare", compared)
    with ThreadPoolExecutor() as threads:
        outcomes = env.store.run(contacts.take_in, "acme", [imported("15550200300", "Ada", byFile="yes")])
        assert outcomes == [Taken.UPDATED]
        assert by_hand[0].result(deadline_s(10)) == ["fields"]
    (person,) = query(env.url, "SELECT fields FROM people")
    assert person["fields"] == {"byHand": "yes", "byFile": "yes"}


class TestContradictions:
    """One user id with two numbers that are not one number: Meta makes a new id when a person changes the number."""

    OTHER = "447911123456"

    @staticmethod
    def say(env: StoreEnv, user_id: str, number: str, second: int = 0) -> None:
        at = LONG_AGO + timedelta(seconds=second)
        env.store.run(inbound.see, [Contact(connection_id=env.connection, user_id=user_id, phone=number, at=at)])

    @staticmethod
    def noted(env: StoreEnv) -> list[tuple[str, list[str]]]:
        rows = query(env.url, "SELECT code, data FROM events WHERE type = 'contact.contradicted' ORDER BY id")
        return [(row["code"], row["data"]["aliases"]) for row in rows]

    def test_two_numbers_never_become_one_chat(self, env: StoreEnv) -> None:
        receive(env, came(env, NUMBER, "first"), came(env, self.OTHER, "second"), came(env, BSUID, "hidden"))
        self.say(env, BSUID, NUMBER)
        assert shown(env, NUMBER) == ["hidden", "first"]
        for _ in range(2):
            self.say(env, BSUID, self.OTHER, 10)
        assert (shown(env, NUMBER), sorted(shown(env, self.OTHER))) == (["first"], ["hidden", "second"])
        assert shown(env, BSUID) == shown(env, self.OTHER), "the id names whom the provider named last"
        assert self.noted(env) == [("moved", sorted([BSUID, self.OTHER]))], "once"

    def test_nor_when_one_batch_says_both(self, env: StoreEnv) -> None:
        receive(env, came(env, NUMBER, "first"), came(env, self.OTHER, "second"))
        people = [
            Contact(connection_id=env.connection, user_id=BSUID, phone=phone, at=LONG_AGO)
            for phone in (NUMBER, self.OTHER)
        ]
        env.store.run(inbound.see, people)
        assert (shown(env, NUMBER), shown(env, self.OTHER)) == (["first"], ["second"])
        assert len(self.noted(env)) == 1

    def test_a_webhook_that_comes_late_changes_nothing(self, env: StoreEnv) -> None:
        receive(env, came(env, NUMBER, "first"), came(env, self.OTHER, "second"))
        self.say(env, BSUID, self.OTHER, 10)
        self.say(env, BSUID, NUMBER, 5)
        assert shown(env, BSUID) == ["second"]
        assert self.noted(env) == [("refused", sorted([BSUID, NUMBER]))]
        found = env.store.run(inbound.contact, env.connection, BSUID)
        assert found is not None
        assert found["phone"] == self.OTHER

    def test_a_new_user_id_after_a_new_number_leaves_the_former_numbers_chat(self, env: StoreEnv) -> None:
        receive(env, came(env, NUMBER, "first"))
        self.say(env, BSUID, NUMBER)
        move = ContactMove(connection_id=env.connection, former=BSUID, user_id="CO.7", at=LONG_AGO)
        env.store.run(inbound.see, [], [move])
        receive(env, came(env, self.OTHER, "second"))
        self.say(env, "CO.7", self.OTHER, 10)
        assert (shown(env, NUMBER), shown(env, self.OTHER)) == (["first"], ["second"])

    def test_spellings_of_one_number_contradict_nothing(self, env: StoreEnv) -> None:
        receive(env, *(came(env, number, number) for number in BRAZIL))
        for number in BRAZIL:
            self.say(env, BSUID, number)
        assert shown(env, BSUID) == list(BRAZIL)
        assert self.noted(env) == []

    @pytest.mark.parametrize("theirs", [BSUID, LID])
    def test_a_quotation_joins_no_other_to_a_person_whom_the_provider_has_named(
        self, env: StoreEnv, theirs: str
    ) -> None:
        sent(env, NUMBER, "wamid.ours")
        self.say(env, "CO.1" if theirs == BSUID else "1234567@lid", NUMBER)
        receive(env, came(env, theirs, "stranger", content={"body": "x", "quoted": "wamid.ours"}))
        assert shown(env, NUMBER) == ["wamid.ours"]

    def test_a_quotation_joins_no_person_with_another_number(self, env: StoreEnv) -> None:
        sent(env, NUMBER, "wamid.ours")
        self.say(env, BSUID, self.OTHER)
        receive(env, came(env, BSUID, "stranger", content={"body": "x", "quoted": "wamid.ours"}))
        assert shown(env, NUMBER) == ["wamid.ours"]

    @pytest.mark.parametrize(
        ("one", "other"), [BRAZIL, MEXICO, (NUMBER, OTHER), (NUMBER, "573107619422"), (LID, "888@lid"), (LID, LID)]
    )
    def test_the_database_has_the_same_rule(self, env: StoreEnv, one: str, other: str) -> None:
        (row,) = query(env.url, "SELECT contradict(%(one)s, %(other)s) AS found", one=one, other=other)
        assert row["found"] is (one != other and not may_be_one_person(one, other))


def test_a_scoped_spelling_of_an_id_names_the_message_under_the_id_that_is_shown(env: StoreEnv) -> None:
    sent(env, NUMBER, STORED)
    env.store.run(inbound.see, [Contact(connection_id=env.connection, user_id=BSUID, phone=NUMBER, at=LONG_AGO)])
    receive(
        env,
        came(env, BSUID, "in.1", content={"body": "yes", "quoted": SCOPED}),
        came(env, BSUID, "in.2", type="reaction", content={"target": SCOPED, "emoji": "👍"}),
        came(env, "15550100999", "in.3", content={"body": "another chat", "quoted": SCOPED}),
        came(env, BSUID, "in.4", content={"body": "unknown", "quoted": "wamid.nonsense"}),
    )
    named = {
        row["provider_id"]: row["content"].get("quoted", row["content"].get("target"))
        for row in query(env.url, "SELECT provider_id, content FROM inbound_messages")
    }
    assert named == {"in.1": STORED, "in.2": STORED, "in.3": SCOPED, "in.4": "wamid.nonsense"}
    assert [target.provider_id for target in env.store.run(targets.find, "acme", STORED)] == [STORED]


@pytest.mark.parametrize(
    ("provider_id", "token"),
    [
        (STORED, "03C82C630FFB4A92A068B2DFEFFE1ACA"),
        (SCOPED, "03C82C630FFB4A92A068B2DFEFFE1ACA"),
        ("wamid.HBgLMTU1NTc5NzYzNDAVAgARGBI5OThBNEUwOTkyNzJEMjUwMzcA", "998A4E099272D25037"),
        ("wamid.", None),
        ("wamid.%%%", None),
        ("wamid.1", None),
        ("m_75458c8c84454fb29d4a2cd42a062be0", None),
    ],
)
def test_the_token_inside_an_id(env: StoreEnv, provider_id: str, token: str | None) -> None:
    assert query(env.url, "SELECT wamid_token(%(id)s) AS token", id=provider_id) == [{"token": token}]


class TestTime:
    def test_a_chat_is_in_the_order_of_the_providers_time(self, env: StoreEnv) -> None:
        receive(env, came(env, "1", "live", at=datetime.now(UTC) - timedelta(minutes=1)))
        for number in (2, 0, 1):
            receive(env, came(env, "1", f"past {number}", at=LONG_AGO + timedelta(seconds=number)))
        assert shown(env, "1") == ["live", "past 2", "past 1", "past 0"]
        rows = page(env, "1", most=2)
        assert rows[1]["at"] == LONG_AGO + timedelta(seconds=2)
        following = env.store.run(
            messages.chat_page, company_id="acme", chat_id="1", before=(rows[1]["at"], rows[1]["id"]), most=2
        )
        assert [row["provider_id"] for row in following] == ["past 1", "past 0"]
        newest = env.store.run(targets.newest_received, company_id="acme", connection_id=env.connection, chat_id="1")
        assert newest is not None
        assert newest[1] == "live"

    def test_the_newest_reaction_by_the_providers_time_counts(self, env: StoreEnv) -> None:
        def reaction(name: str, emoji: str, second: int) -> InboundMessage:
            at = LONG_AGO + timedelta(seconds=second)
            return came(env, "1", name, type="reaction", content={"target": "t", "emoji": emoji}, at=at)

        receive(env, reaction("removed", "", 30))
        receive(env, reaction("given", "👍", 0))
        assert env.store.run(marks.reactions, "acme", [(env.connection, "1", "t")]) == {}
        receive(env, reaction("again", "❤️", 31))
        assert env.store.run(marks.reactions, "acme", [(env.connection, "1", "t")]) == {
            (env.connection, "t"): [("1", "❤️")]
        }

    def test_an_edit_by_hand_finds_a_message_of_ours_and_the_newest_counts(self, env: StoreEnv) -> None:
        row_id = sent(env, "1", "wamid.1")

        def edit(name: str, words: str, second: int) -> InboundMessage:
            content = {"target": "wamid.1", "body": words}
            at = LONG_AGO + timedelta(seconds=second)
            return came(env, "1", name, type="edit", content=content, from_me=True, at=at)

        receive(env, edit("e2", "newest", 20))
        receive(env, edit("e1", "older", 10))
        assert env.row(row_id)["content"]["body"] == "newest"
        codes = [row["code"] for row in env.store.run(messages.history, row_id)]
        assert codes.count("edited_by_hand") == 1
