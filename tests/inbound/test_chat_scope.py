"""Who knows the id of a message in another chat can neither change nor delete it, nor react to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest

from shared.inbound_events import Contact
from shared.messages import InboundMessage
from shared.states import MessageState
from shared.store import inbound, marks
from tests.store.env import LONG_AGO, StoreEnv
from tests.support.database import query

VICTIM, ATTACKER = "15550100200", "15550100666"
BSUID, LID = "US.13491208655302741918", "77712345@lid"
GROUP = "120363000000000000@g.us"


def line(env: StoreEnv, chat: str, provider_id: str, **fields: Any) -> InboundMessage:
    defaults: dict[str, Any] = {"content": {"body": "before"}, "at": LONG_AGO, "sender": chat, "type": "text"}
    return InboundMessage(connection_id=env.connection, provider_id=provider_id, chat_id=chat, **(defaults | fields))


def edit(env: StoreEnv, chat: str, target: str = "wamid.1", **fields: Any) -> InboundMessage:
    content = {"target": target, "body": "after"}
    return line(env, chat, f"edit of {target}", **({"type": "edit", "content": content} | fields))


def revoke(env: StoreEnv, chat: str, target: str = "wamid.1", **fields: Any) -> InboundMessage:
    return line(env, chat, f"revoke of {target}", **({"type": "revoke", "content": {"target": target}} | fields))


def reaction(env: StoreEnv, chat: str, **fields: Any) -> InboundMessage:
    made = {"provider_id": "reaction", "emoji": "👍"} | fields
    content = {"target": "wamid.1", "emoji": made.pop("emoji")}
    return line(env, chat, made.pop("provider_id"), type="reaction", content=content, **made)


def receive(env: StoreEnv, *lines: InboundMessage) -> None:
    for one in lines:
        env.store.run(inbound.insert, [(one, None)])


def known_as(env: StoreEnv, user_id: str, phone: str) -> None:
    env.store.run(inbound.see, [Contact(connection_id=env.connection, user_id=user_id, phone=phone, at=LONG_AGO)])


def stored(env: StoreEnv, provider_id: str = "wamid.1") -> tuple[str | None, str]:
    """Return the words and the state of a message that came in."""
    (row,) = query(
        env.url,
        "SELECT content ->> 'body' AS body, state FROM inbound_messages WHERE provider_id = %(id)s",
        id=provider_id,
    )
    return row["body"], row["state"]


def sent(env: StoreEnv, chat: str, provider_id: str) -> int:
    (row_id,) = env.accept(chat)
    env.claim([row_id])
    env.settle(row_id, MessageState.SENT, provider_id=provider_id)
    return row_id


UNCHANGED, EDITED, DELETED = ("before", "received"), ("after", "received"), (None, "deleted")


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
class TestWhatCameIn:
    """Edits and revokes, that come after or before their message."""

    @staticmethod
    def play(env: StoreEnv, message: InboundMessage, change: InboundMessage, before: bool) -> tuple[str | None, str]:
        receive(env, *((change, message) if before else (message, change)))
        return stored(env)

    def test_the_author_may(self, env: StoreEnv, before: bool) -> None:
        assert self.play(env, line(env, VICTIM, "wamid.1"), edit(env, VICTIM), before) == EDITED
        assert self.play(env, line(env, VICTIM, "wamid.1"), revoke(env, VICTIM), before) == DELETED

    def test_another_chat_may_not(self, env: StoreEnv, before: bool) -> None:
        assert self.play(env, line(env, VICTIM, "wamid.1"), edit(env, ATTACKER), before) == UNCHANGED
        assert self.play(env, line(env, VICTIM, "wamid.1"), revoke(env, ATTACKER), before) == UNCHANGED

    def test_parts_of_a_message_in_another_chat_stay(self, env: StoreEnv, before: bool) -> None:
        parts = [line(env, VICTIM, "mid.1"), line(env, VICTIM, "mid.1#2")]
        change = [revoke(env, ATTACKER, "mid.1")]
        receive(env, *(change + parts if before else parts + change))
        assert (stored(env, "mid.1"), stored(env, "mid.1#2")) == (UNCHANGED, UNCHANGED)

    @pytest.mark.parametrize(("user_id", "chat"), [(BSUID, BSUID), (LID, LID), ("US.ENT.118157", "US.ENT.118157")])
    def test_the_author_may_under_another_id(self, env: StoreEnv, before: bool, user_id: str, chat: str) -> None:
        known_as(env, user_id, VICTIM)
        message = line(env, VICTIM, "wamid.1", sender=f"{VICTIM}@c.us")
        assert self.play(env, message, edit(env, chat), before) == EDITED

    def test_the_page_may_spell_the_author_otherwise(self, env: StoreEnv, before: bool) -> None:
        message = line(env, VICTIM, "wamid.1", sender=f"{VICTIM}@c.us")
        assert self.play(env, message, edit(env, VICTIM, sender=f"{VICTIM}:7@s.whatsapp.net"), before) == EDITED

    def test_a_customer_does_not_change_what_the_business_wrote_in_its_app(self, env: StoreEnv, before: bool) -> None:
        ours = line(env, VICTIM, "wamid.1", sender="15550783001", from_me=True)
        assert self.play(env, ours, edit(env, VICTIM), before) == UNCHANGED
        assert self.play(env, ours, revoke(env, VICTIM), before) == UNCHANGED

    def test_the_business_changes_its_own_in_the_chat_that_it_names(self, env: StoreEnv, before: bool) -> None:
        ours = line(env, VICTIM, "wamid.1", sender="15550783001", from_me=True)
        assert self.play(env, ours, edit(env, ATTACKER, "wamid.1", from_me=True, sender=""), before) == UNCHANGED
        assert self.play(env, ours, revoke(env, VICTIM, from_me=True, sender=""), before) == DELETED

    def test_in_a_group_only_the_member_who_wrote_it(self, env: StoreEnv, before: bool) -> None:
        message = line(env, GROUP, "wamid.1", sender=LID)
        assert self.play(env, message, edit(env, GROUP, sender="66612345@lid"), before) == UNCHANGED
        assert self.play(env, message, revoke(env, GROUP, sender=LID), before) == DELETED


class TestWhatWeSent:
    def test_the_business_app_changes_a_message_in_its_own_chat_only(self, env: StoreEnv) -> None:
        row_id = sent(env, VICTIM, "wamid.1")
        receive(env, edit(env, ATTACKER, from_me=True), revoke(env, ATTACKER, from_me=True))
        assert (env.row(row_id)["content"]["body"], env.state(row_id)) == ("hello", "sent")
        query(env.url, "DELETE FROM inbound_messages")
        known_as(env, BSUID, VICTIM)
        receive(env, edit(env, BSUID, from_me=True), revoke(env, BSUID, from_me=True))
        assert (env.row(row_id)["content"].get("body"), env.state(row_id)) == DELETED

    def test_a_customer_changes_nothing_of_it(self, env: StoreEnv) -> None:
        row_id = sent(env, VICTIM, "wamid.1")
        receive(env, edit(env, VICTIM), revoke(env, VICTIM))
        assert (env.row(row_id)["content"]["body"], env.state(row_id)) == ("hello", "sent")


class TestReactions:
    def shown(self, env: StoreEnv, chat: str = VICTIM) -> list[tuple[str, str]]:
        key = (env.connection, "wamid.1")
        found: Mapping[tuple[int, str], list[tuple[str, str]]] = env.store.run(
            marks.reactions, "acme", [(env.connection, chat, "wamid.1")]
        )
        return found.get(key, [])

    def test_one_counts_in_the_chat_of_its_message_only(self, env: StoreEnv) -> None:
        sent(env, VICTIM, "wamid.1")
        receive(env, reaction(env, ATTACKER))
        assert self.shown(env) == []
        receive(env, reaction(env, VICTIM, provider_id="own", emoji="❤️"))
        assert self.shown(env) == [(VICTIM, "❤️")]

    def test_one_of_another_connection_does_not_count(self, env: StoreEnv) -> None:
        other = env.connect(phone_index=1)
        receive(env, line(env, VICTIM, "wamid.1"))
        made = reaction(env, VICTIM)
        env.store.run(inbound.insert, [(InboundMessage(**{**_fields(made), "connection_id": other}), None)])
        assert self.shown(env) == []

    def test_each_member_of_a_group_reacts(self, env: StoreEnv) -> None:
        receive(env, line(env, GROUP, "wamid.1", sender=LID), reaction(env, GROUP, sender="66612345@lid"))
        assert self.shown(env, GROUP) == [("66612345@lid", "👍")]

    def test_it_is_taken_back_under_another_id_of_the_person(self, env: StoreEnv) -> None:
        known_as(env, BSUID, VICTIM)
        receive(env, reaction(env, VICTIM))
        assert self.shown(env, BSUID) == [(VICTIM, "👍")]
        receive(env, reaction(env, BSUID, provider_id="removed", emoji=""))
        assert self.shown(env) == []


def _fields(message: InboundMessage) -> dict[str, Any]:
    return {field.name: getattr(message, field.name) for field in fields(message)}


def test_an_edit_after_the_deletion_is_no_second_deletion(env: StoreEnv) -> None:
    receive(env, line(env, VICTIM, "wamid.1"), revoke(env, VICTIM), edit(env, VICTIM))
    assert stored(env) == DELETED
    assert query(env.url, "SELECT count(*) AS found FROM events_messages WHERE type = 'message.deleted'") == [
        {"found": 1}
    ]
