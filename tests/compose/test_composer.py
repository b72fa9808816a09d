"""Any kind accepts messages through a composer: what is accepted, what is refused, and what a repetition gets."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from shared.clock import utc_now
from shared.compose.composer import Acceptance, Draft, read_send_at
from shared.errors import Refused
from shared.fields import FieldsInvalid
from shared.states import MessageState
from shared.store import targets
from shared.store.targets import MessageTarget
from tests.compose.env import ComposeEnv
from tests.support.database import query

CHAT = "15550100200"
META_GROUP = "Y2FwaV9ncm91cDoxODA1NTU1MDE3MjoxMjAzNjMyMjI3NzE5NjMwNjcZD"


def refusal(env: ComposeEnv, type_: str, fields: Mapping[str, Any], chat: str = CHAT, **more: Any) -> Refused:
    before = query(env.url, "SELECT count(*) AS count FROM messages")
    with pytest.raises(Refused) as refused:
        env.compose(type_, chat, fields, **more)
    assert query(env.url, "SELECT count(*) AS count FROM messages") == before, "nothing was accepted"
    return refused.value


def sent(env: ComposeEnv, text: str = "said", chat: str = CHAT, state: MessageState = MessageState.SENT) -> int:
    """Return a message that went out, or came to another end after the provider had named it."""
    (message_id,) = env.accept(chat)
    query(
        env.url,
        "UPDATE messages SET state = %(state)s, sent_at = now(), provider_id = %(provider_id)s WHERE id = %(id)s",
        state=state,
        provider_id=f"wamid.{message_id}",
        id=message_id,
    )
    return message_id


def test_a_draft_becomes_a_row_without_any_api(env: ComposeEnv) -> None:
    accepted = env.compose("text", "+1 (555) 010-0200", {"message": "Hello"})
    row = env.row(accepted.id)
    assert (row["chat_id"], row["type"], row["state"], row["process_name"]) == (CHAT, "text", "queued", "meta")
    assert row["content"] == {"body": "Hello", "quoted": None}
    assert (accepted.company_id, accepted.chat_id, accepted.connection_type) == ("acme", CHAT, "meta_direct")
    assert not accepted.replayed
    assert env.composer.accepted == 1


def test_a_repetition_is_the_first_answer_again(env: ComposeEnv) -> None:
    first = env.compose("text", CHAT, {"message": "Hello"}, "k")
    again = env.compose("text", CHAT, {"message": "Hello"}, "k")
    assert (again.id, again.created_at, again.replayed) == (first.id, first.created_at, True)
    assert refusal(env, "text", {"message": "Other"}, key="k").code == "idempotency_key_reused"
    assert env.composer.accepted == 1


def test_a_repetition_shows_the_first_schedule_when_it_has_passed(env: ComposeEnv) -> None:
    send_at = (utc_now() + timedelta(hours=1)).isoformat()
    first = env.compose("text", CHAT, {"message": "Hello", "sendAt": send_at}, "k")
    assert first.scheduled_for == read_send_at(send_at)
    passed = utc_now() - timedelta(seconds=5)
    query(env.url, "UPDATE messages SET scheduled_for = %(at)s WHERE id = %(id)s", at=passed, id=first.id)
    again = env.compose("text", CHAT, {"message": "Hello", "sendAt": send_at}, "k")
    assert (again.replayed, again.scheduled_for) == (True, passed)


def test_what_has_changed_since_is_no_reason_to_refuse_a_repetition(env: ComposeEnv) -> None:
    target = sent(env)
    first = env.compose("reaction", CHAT, {"messageId": str(target), "emoji": "👍"}, "k")
    query(env.url, "UPDATE messages SET state = 'deleted' WHERE id = %(id)s", id=target)
    assert env.compose("reaction", CHAT, {"messageId": str(target), "emoji": "👍"}, "k").id == first.id
    assert refusal(env, "reaction", {"messageId": str(target), "emoji": "👍"}).code == "message_not_sent"


def test_only_what_is_there_is_quoted(env: ComposeEnv) -> None:
    target = sent(env)
    for quoted in (str(target), f"wamid.{target}"):
        accepted = env.compose("text", CHAT, {"message": "Hello", "quotedMessageId": quoted})
        assert env.content(accepted.id)["quoted"] == f"wamid.{target}"
    call = env.received(CHAT, "wacid.1", "call")
    for wrong in (sent(env, state=MessageState.FAILED), sent(env, chat="15550100999"), call, 10**9):
        refused = refusal(env, "text", {"message": "Hello", "quotedMessageId": str(wrong)})
        assert (refused.code, refused.field) == ("quoted_message_unknown", "quotedMessageId")


@pytest.mark.parametrize("direction", ["sent", "received"])
def test_nothing_acts_on_a_message_of_the_other_world(env: ComposeEnv, direction: str) -> None:
    """What the sandbox has, the real provider does not know."""
    query(env.url, "UPDATE phone_configs SET world = 'sandbox'")
    target = sent(env) if direction == "sent" else env.received(CHAT, "wamid.other")
    query(env.url, "UPDATE messages SET world = 'sandbox'")
    given = {"message": "Hello", "quotedMessageId": str(target)}
    env.compose("text", CHAT, given)
    query(env.url, "UPDATE phone_configs SET world = 'live'")
    assert refusal(env, "text", given).code == "quoted_message_unknown"
    refused = refusal(env, "reaction", {"messageId": str(target), "emoji": "👍"})
    assert (refused.code, "the provider to which" in str(refused)) == ("message_not_sent", True)
    if direction == "received":
        assert refusal(env, "read", {}).code != "message_not_sent", "the newest of this world is meant"


@pytest.mark.parametrize("line", ["call", "system"])
def test_nothing_acts_on_a_line_that_is_no_message(env: ComposeEnv, line: str) -> None:
    said, call = env.received(CHAT, "wamid.said"), env.received(CHAT, "wacid.1", line)
    for type_, fields in (("reaction", {"emoji": "👍"}), ("read", {})):
        refused = refusal(env, type_, {"messageId": str(call), **fields})
        assert (refused.code, refused.details["operation"]) == ("unsupported_operation", type_)
    accepted = env.compose("read", CHAT, {})
    assert env.content(accepted.id) == {"target": "wamid.said", "target_id": said}


@pytest.mark.parametrize("chat", [META_GROUP, "1203639698831000", "16465"])
def test_a_chat_whose_id_proves_nothing_is_answered_once_it_wrote(env: ComposeEnv, chat: str) -> None:
    assert refusal(env, "text", {"message": "Hello"}, chat=chat).code == "chat_invalid"
    env.received(chat, "wamid.1")
    assert env.compose("text", chat, {"message": "Hello"}).chat_id == chat


def test_a_group_takes_what_meta_allows_in_groups(env: ComposeEnv) -> None:
    env.received(META_GROUP, "wamid.1")
    refused = refusal(env, "location", {"latitude": 1, "longitude": 2}, chat=META_GROUP)
    assert (refused.code, refused.details["operation"]) == ("unsupported_operation", "location")
    assert env.compose("read", META_GROUP, {}).chat_id == META_GROUP
    assert env.compose("template", META_GROUP, {"name": "t", "language": "de"}).chat_id == META_GROUP


def test_what_the_channel_cannot_do_is_refused(env: ComposeEnv) -> None:
    refused = refusal(env, "forward", {"messageId": "1"})
    assert (refused.code, refused.details["reason"]) == ("unsupported_operation", "channel")
    assert refusal(env, "text", {"message": "x" * 4097}).details["limit"] == 4096
    assert refusal(env, "text", {"message": "x", "phone": 1}).code == "body_invalid"
    assert refusal(env, "text", {"message": "x", "sendAt": "tomorrow"}).field == "sendAt"


def test_null_is_as_good_as_absent(env: ComposeEnv) -> None:
    accepted = env.compose("text", CHAT, {"message": "Hello", "preview": None, "quotedMessageId": None, "tag": None})
    assert env.content(accepted.id) == {"body": "Hello", "quoted": None}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/files/prices%20May.pdf?x=1", "prices May.pdf"),
        ("https://example.com/files/", None),
        ("https://example.com/download", None),
    ],
)
def test_a_document_by_address_has_the_name_in_its_address(env: ComposeEnv, url: str, name: str | None) -> None:
    accepted = env.compose("document", CHAT, {"url": url})
    assert env.content(accepted.id).get("filename") == name
    assert env.content(env.compose("document", CHAT, {"url": url, "filename": "own.pdf"}).id)["filename"] == "own.pdf"


def test_actions_on_a_message_are_accepted_like_drafts(env: ComposeEnv) -> None:
    browser = env.connect(phone_index=1, connection_type="wwebjs")
    (row,) = env.accept(CHAT, connection_id=browser, connection_type="wwebjs")
    query(env.url, "UPDATE messages SET state = 'sent', sent_at = now(), provider_id = 'w1' WHERE id = %(id)s", id=row)
    (target,) = env.store.run(targets.find, "acme", str(row))

    async def act(target: MessageTarget) -> list[Acceptance]:
        fields = {"inDoubtPolicy": None}
        return [
            await env.composer.react("acme", target, {"emoji": "👍", **fields}),
            await env.composer.edit("acme", target, {"message": "new", **fields}),
            await env.composer.delete("acme", target, "everyone"),
        ]

    accepted = asyncio.run(act(target))
    assert [one.type for one in accepted] == ["reaction", "edit", "delete"]
    assert {env.content(one.id)["target"] for one in accepted} == {"w1"}


PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)


def test_a_file_of_a_draft_is_kept_once(env: ComposeEnv) -> None:
    data = base64.b64encode(PNG).decode()
    first = env.compose("image", CHAT, {"data": data, "caption": "Look"})
    media = env.content(first.id)["media"]
    assert (media["mimetype"], media["size"]) == ("image/png", len(PNG))
    again = env.compose("document", CHAT, {"sha256": media["sha256"], "filename": "again.png"})
    assert env.content(again.id)["media"]["sha256"] == media["sha256"]
    assert len(query(env.url, "SELECT * FROM media_files")) == 1


def test_a_file_belongs_to_a_type_that_carries_one(env: ComposeEnv) -> None:
    kept = asyncio.run(
        env.files.keep_base64(
            "acme", base64.b64encode(PNG).decode(), declared="", filename="", most=len(PNG), field="data"
        )
    )
    draft = Draft(type="text", connection=env.connection_of(), chat_id=CHAT, fields={"message": "Look"}, file=kept)
    with pytest.raises(FieldsInvalid) as refused:
        asyncio.run(env.composer.accept(draft))
    assert refused.value.wrong == (("/file", "is not a field of a message of type text"),)
