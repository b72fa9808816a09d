"""What comes in, written down: people, edits and revokes, echoes, watermarks, events of accounts, and processing it
again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from meta.inbound.processor import WebhookProcessor
from shared.process.metrics import Metrics
from shared.settings import Settings
from shared.states import MessageState
from shared.store import connections, inbound, inbound_journal, messages, templates
from shared.store.inbound import RawEvent
from tests.meta.channel_env import KIND, ChannelEnv
from tests.meta.seed import COMPANY, D360, DIRECT, status, text, webhook
from tests.meta.test_processor import ask, claimed, journal, read_all, scenario, states

MakeSettings = Callable[..., Settings]
PAGE = "300000000000001"


def people(own: ChannelEnv) -> list[tuple[Any, ...]]:
    return ask(own, "SELECT user_id, phone, name, former_ids FROM contacts ORDER BY user_id")


def named(name: str, **ids: str) -> dict[str, Any]:
    return {"profile": {"name": name}, **ids}


def page(*items: dict[str, Any], kind: str = "page") -> dict[str, Any]:
    return {"object": kind, "entry": [{"id": PAGE, "time": 1, "messaging": list(items)}]}


def did(at: int = 1760000000000, **parts: Any) -> dict[str, Any]:
    return {"sender": {"id": "24500000000000001"}, "recipient": {"id": PAGE}, "timestamp": at, **parts}


def with_page(own: ChannelEnv, phone_index: int = 7, connection_type: str = "messenger") -> int:
    """Make a connection of a page."""
    return own.store.run(
        connections.ensure,
        company_id=COMPANY,
        phone_index=phone_index,
        connection_type=connection_type,
        account_id=PAGE,
    )


def test_a_person_is_one_row_under_all_names(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        journal(own, webhook({"contacts": [named("Ann", wa_id="15550100200")], "messages": [text("1", "wamid.1")]}))
        await read_all(own.processor)
        assert people(own) == [("15550100200", "15550100200", "Ann", [])]
        # the user id comes
        journal(
            own,
            webhook(
                {
                    "contacts": [named("Ann B", wa_id="15550100200", user_id="US.1")],
                    "messages": [text("2", "wamid.2", from_user_id="US.1")],
                }
            ),
        )
        await read_all(own.processor)
        assert people(own) == [("US.1", "15550100200", "Ann B", ["15550100200"])]
        # known by number alone it is the same person, and a name that is not given is kept
        journal(own, webhook({"messages": [text("3", "wamid.3")]}))
        await read_all(own.processor)
        assert people(own) == [("US.1", "15550100200", "Ann B", ["15550100200"])]
        # the number is hidden: the chat stays
        hidden = {
            "from_user_id": "US.1",
            "id": "wamid.4",
            "timestamp": "1760000000",
            "type": "text",
            "text": {"body": "4"},
        }
        stranger = {**hidden, "from_user_id": "US.2", "id": "wamid.5"}
        journal(own, webhook({"messages": [hidden, stranger]}))
        await read_all(own.processor)
        assert dict(
            ask(own, "SELECT provider_id, chat_id FROM inbound_messages WHERE provider_id IN ('wamid.4', 'wamid.5')")
        ) == {
            "wamid.4": "15550100200",
            "wamid.5": "US.2",
        }

    scenario(portless, play)


def test_a_repeated_webhook_gives_a_user_id_back_to_no_former_number(portless: MakeSettings) -> None:
    def came(number: str, wamid: str, at: int) -> dict[str, Any]:
        message = {**text(wamid, wamid, sender=number), "from_user_id": "US.1", "timestamp": str(at)}
        return webhook({"contacts": [named("Ann", wa_id=number, user_id="US.1")], "messages": [message]})

    async def play(own: ChannelEnv) -> None:
        # providers repeat for days: the contact beside a message is of the message's time, not of its arrival's
        for body in (came("15550100200", "wamid.1", 1760000000), came("15550100777", "wamid.2", 1760000100)):
            journal(own, body)
            await read_all(own.processor)
        journal(own, came("15550100200", "wamid.3", 1760000050))
        await read_all(own.processor)
        sql = f"SELECT is_one_chat('{COMPANY}', 'US.1', '15550100777'), is_one_chat('{COMPANY}', 'US.1', '15550100200')"
        alike = ask(own, sql)
        assert alike == [(True, False)]
        assert ask(own, "SELECT phone FROM contacts WHERE user_id = 'US.1'") == [("15550100777",)]

    scenario(portless, play)


def test_numbers_and_ids_change(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        journal(
            own,
            webhook(
                {
                    "contacts": [named("Ann", wa_id="15550100200"), named("Bob", wa_id="15550100201", user_id="US.B")],
                    "messages": [text("1", "wamid.1")],
                }
            ),
        )
        changed = {"type": "system", "timestamp": "1760000001"}
        ann = {
            **changed,
            "from": "15550100200",
            "id": "wamid.S1",
            "system": {"type": "user_changed_number", "wa_id": "15550100299"},
        }
        bob = {
            **changed,
            "from": "15550100201",
            "id": "wamid.S2",
            "system": {"type": "user_changed_number", "wa_id": "15550100298", "user_id": "US.C"},
        }
        journal(own, webhook({"messages": [ann]}), webhook({"messages": [bob]}))
        await read_all(own.processor)
        rows = {row[2]: row for row in people(own) if row[2]}
        assert rows["Ann"][:2] == ("15550100299", "15550100299")
        assert rows["Ann"][3] == ["15550100200"]
        assert rows["Bob"][:2] == ("US.C", "15550100298")
        assert set(rows["Bob"][3]) == {"15550100201", "US.B"}
        update = webhook({"user_id_update": [{"user_id": {"previous": "US.C", "current": "US.D"}}]})
        journal(own, update, update)
        await read_all(own.processor)
        found = own.store.run(inbound.contact, own.ids[DIRECT], "US.B")
        assert found is not None
        assert (found["user_id"], found["phone"], found["name"]) == ("US.D", "15550100298", "Bob")

    scenario(portless, play)


def test_a_number_belongs_to_one_person_at_a_time(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        for user_id, provider_id in (("US.OLD", "wamid.1"), ("US.NEW", "wamid.2")):
            journal(
                own,
                webhook(
                    {
                        "contacts": [named("x", wa_id="15550100200", user_id=user_id)],
                        "messages": [text("x", provider_id, from_user_id=user_id)],
                    }
                ),
            )
            await read_all(own.processor)
        assert [(row[0], row[1]) for row in people(own)] == [("US.NEW", "15550100200"), ("US.OLD", None)]

    scenario(portless, play)


def test_the_newest_marketing_choice_counts(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        def said(word: str, at: int) -> dict[str, Any]:
            return webhook({"user_preferences": [{"wa_id": "15550100200", "value": word, "timestamp": at}]})

        journal(own, said("resume", 1760000009), said("stop", 1760000001))
        await read_all(own.processor)
        assert ask(own, "SELECT user_id, wants_marketing FROM contacts") == [("15550100200", True)]
        journal(own, said("stop", 1760000010))
        await read_all(own.processor)
        assert ask(own, "SELECT wants_marketing FROM contacts") == [(False,)]

    scenario(portless, play)


def edit(target: str, provider_id: str, body: str, at: int = 1760000100) -> dict[str, Any]:
    new = {"type": "text", "text": {"body": body}}
    return {
        "from": "15550100200",
        "id": provider_id,
        "timestamp": str(at),
        "type": "edit",
        "edit": {"original_message_id": target, "message": new},
    }


def revoke(target: str, provider_id: str, **more: str) -> dict[str, Any]:
    return {
        "from": "15550100200",
        "id": provider_id,
        "timestamp": "1760000200",
        "type": "revoke",
        "revoke": {"original_message_id": target},
        **more,
    }


def test_edits_and_revokes_take_hold_whichever_comes_first(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        before, after = (
            [text("first", "wamid.A")],
            [edit("wamid.A", "wamid.E2", "third", 1760000102), edit("wamid.A", "wamid.E1", "second", 1760000101)],
        )
        orders = {"A": [*before, *after], "B": [*after, *before]}
        for name, order in orders.items():
            for message in order:
                journal(own, webhook({"messages": [_renamed(message, name)]}))
                await read_all(own.processor)
            ((content, state),) = ask(
                own, "SELECT content, state FROM inbound_messages WHERE provider_id = %s", f"wamid.A{name}"
            )
            assert content["body"] == "third"
            assert content["edited_at"].startswith("2025-10-09")
            assert state == "received"
        journal(own, webhook({"messages": [revoke("wamid.AA", "wamid.R1"), revoke("wamid.LATER", "wamid.R2")]}))
        await read_all(own.processor)
        journal(own, webhook({"messages": [text("gone", "wamid.LATER")]}))
        await read_all(own.processor)
        taken_back = ask(own, "SELECT provider_id FROM inbound_messages WHERE state = 'deleted' ORDER BY 1")
        assert taken_back == [("wamid.AA",), ("wamid.LATER",)]

    scenario(portless, play)


def _renamed(message: Mapping[str, Any], name: str) -> dict[str, Any]:
    new = dict(message) | {"id": f"{message['id']}{name}"}
    if "edit" in message:
        new["edit"] = {**message["edit"], "original_message_id": f"wamid.A{name}"}
    return new


def test_an_edited_caption_keeps_its_file(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        picture = {
            "from": "15550100200",
            "id": "wamid.P",
            "timestamp": "1",
            "type": "image",
            "image": {"id": "900", "caption": "old"},
        }
        new = {"type": "image", "image": {"id": "901", "caption": "new"}}
        words = {
            "from": "15550100200",
            "id": "wamid.W",
            "timestamp": "2",
            "type": "edit",
            "edit": {"original_message_id": "wamid.P", "message": new},
        }
        journal(own, webhook({"messages": [picture, words]}))
        await read_all(own.processor)
        ((content,),) = ask(own, "SELECT content FROM inbound_messages WHERE provider_id = 'wamid.P'")
        assert (content["media"], content["caption"]) == ({"id": "900"}, "new")
        assert ask(own, "SELECT count(*) FROM inbound_media") == [(1,)]

    scenario(portless, play)


@pytest.mark.parametrize("revoke_first", [False, True], ids=["after", "before"])
def test_unsending_a_message_with_several_files_deletes_all_of_them(portless: MakeSettings, revoke_first: bool) -> None:
    async def play(own: ChannelEnv) -> None:
        with_page(own)
        files = [{"type": "image", "payload": {"url": f"https://scontent.xx/{number}.png"}} for number in range(3)]
        sent = page(did(message={"mid": "m_1", "attachments": files}), did(message={"mid": "m_10", "text": "stays"}))
        unsent = page(did(message={"mid": "m_1", "is_deleted": True}))
        for payload in (unsent, sent) if revoke_first else (sent, unsent):
            journal(own, payload)
            await read_all(own.processor)
        states = ask(own, "SELECT provider_id, state FROM inbound_messages WHERE type <> 'revoke' ORDER BY 1")
        assert states == [("m_1", "deleted"), ("m_1#2", "deleted"), ("m_1#3", "deleted"), ("m_10", "received")]

    scenario(portless, play)


def test_what_the_company_takes_back_by_hand_is_deleted_also_when_we_sent_it(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        (row,) = claimed(own)
        own.store.run(
            messages.settle,
            incarnation="test",
            settlements=[messages.Settlement(id=row, state=MessageState.SENT, provider_id="wamid.OURS")],
        )
        echo = {"from": "15550783001", "to": "15550400000", "timestamp": "1"}
        ours_again = {**echo, "id": "wamid.OURS", "type": "text", "text": {"body": "x"}}
        taken_back = {**echo, "id": "wamid.R", "type": "revoke", "revoke": {"original_message_id": "wamid.OURS"}}
        journal(own, webhook({"message_echoes": [ours_again, taken_back]}), webhook({"message_echoes": [taken_back]}))
        await read_all(own.processor)
        assert states(own, [row]) == ["deleted"]
        assert ask(own, "SELECT type, from_me, may_trigger FROM inbound_messages") == [("revoke", True, False)]
        # a customer cannot take back what we wrote
        (other,) = claimed(own)
        own.store.run(
            messages.settle,
            incarnation="test",
            settlements=[messages.Settlement(id=other, state=MessageState.SENT, provider_id="wamid.SAFE")],
        )
        journal(own, webhook({"messages": [revoke("wamid.SAFE", "wamid.X")]}))
        await read_all(own.processor)
        assert states(own, [other]) == ["sent"]

    scenario(portless, play)


def test_what_was_not_understood_is_replaced_when_it_is(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        placeholder = {"from": "15550100200", "id": "wamid.H", "timestamp": "1", "type": "media_placeholder"}
        journal(own, webhook({"messages": [placeholder]}))
        await read_all(own.processor)
        journal(
            own,
            webhook({"messages": [{**placeholder, "type": "image", "image": {"id": "900"}}]}),
            webhook({"messages": [placeholder]}),
        )
        await read_all(own.processor)
        assert ask(own, "SELECT type, content FROM inbound_messages") == [("image", {"media": {"id": "900"}})]
        assert ask(own, "SELECT state FROM inbound_media") == [("pending",)]

    scenario(portless, play)


def test_played_is_read_and_stands_in_the_history_beside_it(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        (row,) = claimed(own)
        for word in ("delivered", "read", "played", "played"):
            journal(own, webhook({"statuses": [status(word, token=own.token(row), provider_id="wamid.V")]}))
        await read_all(own.processor)
        assert states(own, [row]) == ["read"]
        reported = [step["extra"]["status"] for step in own.store.run(messages.history, row) if step["extra"]]
        assert sorted(reported) == ["delivered", "played", "read"]

    scenario(portless, play)


def sent_into(own: ChannelEnv, connection_id: int, provider_id: str) -> int:
    """Make a row that was sent to the person of the page's chat."""
    new = messages.NewMessage(
        company_id=COMPANY,
        connection_id=connection_id,
        process_name=KIND.name,
        chat_id="24500000000000001",
        type="text",
        content={"body": "x"},
    )
    (accepted,) = own.store.run(messages.accept, [new])
    own.store.run(messages.claim, kind=KIND.name, incarnation="test", ids=[accepted.id], most=1, token_at_claim=True)
    own.store.run(
        messages.settle,
        incarnation="test",
        settlements=[messages.Settlement(id=accepted.id, state=MessageState.SENT, provider_id=provider_id)],
    )
    return accepted.id


def test_watermarks_move_everything_that_had_left_by_then(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        connection_id = with_page(own)
        first, second = sent_into(own, connection_id, "m_1"), sent_into(own, connection_id, "m_2")
        between = int(datetime.now(UTC).timestamp() * 1000)
        await asyncio.sleep(0.01)
        late = sent_into(own, connection_id, "m_3")
        journal(own, page(did(delivery={"mids": ["m_1"], "watermark": between})))
        await read_all(own.processor)
        assert states(own, [first, second, late]) == ["delivered", "delivered", "sent"]
        journal(
            own,
            page(did(read={"watermark": between})),
            page(did(delivery={"watermark": between + 60_000})),
            page(did(read={"watermark": 1})),
        )
        await read_all(own.processor)
        assert states(own, [first, second, late]) == ["read", "read", "delivered"]
        history = [step["state"] for step in own.store.run(messages.history, first)]
        assert history == ["queued", "sending", "sent", "delivered", "read"]

    scenario(portless, play)


def test_an_echo_proves_a_send_of_ours_and_is_kept_once_of_a_human(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        with_page(own)
        connection_id = with_page(own, 8, "instagram")
        new = messages.NewMessage(
            company_id=COMPANY,
            connection_id=connection_id,
            process_name=KIND.name,
            chat_id="24500000000000001",
            type="text",
            content={"body": "x"},
        )
        (accepted,) = own.store.run(messages.accept, [new])
        own.store.run(
            messages.claim, kind=KIND.name, incarnation="test", ids=[accepted.id], most=1, token_at_claim=True
        )
        back = {"sender": {"id": PAGE}, "recipient": {"id": "24500000000000001"}, "timestamp": 1760000000000}
        ours = {
            **back,
            "message": {"mid": "m_ours", "is_echo": True, "text": "x", "metadata": own.token(accepted.id)},
        }
        human = {**back, "message": {"mid": "m_human", "is_echo": True, "text": "by hand"}}
        journal(own, page(ours, human, kind="instagram"), page(human, kind="instagram"))
        await read_all(own.processor)
        assert states(own, [accepted.id]) == ["sent"]
        kept = "SELECT connection_id, provider_id, from_me, may_trigger FROM inbound_messages ORDER BY provider_id"
        assert ask(own, kept) == [(connection_id, "m_human", True, False)]
        # Another installation at the same Page is another application, whose messages stand in the chat.
        installation, rest = own.token(accepted.id).removeprefix("bulkhead:").split(":", 1)
        theirs = {
            "mid": "m_theirs",
            "is_echo": True,
            "text": "theirs",
            "metadata": f"bulkhead:{installation[::-1]}:{rest}",
            "attachments": [{"type": "image", "payload": {"url": "https://x.example/a.jpg"}}] * 2,
        }
        for _ in range(2):
            journal(own, page(ours, {**back, "message": theirs}, kind="instagram"))
            await read_all(own.processor)
        assert ask(own, kept)[1:] == [(connection_id, f"m_theirs{part}", True, False) for part in ("", "#2")]
        assert ask(own, "SELECT count(*) FROM inbound_media") == [(2,)]

    scenario(portless, play)


WABA: Final = "200000000000001"
HELLO: Final = {"message_template_name": "hello", "message_template_language": "en_US"}


def account_event(field: str, value: Mapping[str, Any], *, waba_id: str = WABA, at: int = 1760000000) -> dict[str, Any]:
    change = {"field": field, "value": value}
    return {"object": "whatsapp_business_account", "entry": [{"id": waba_id, "time": at, "changes": [change]}]}


def test_events_about_accounts_are_kept_once(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        payload = account_event("message_template_status_update", {"event": "APPROVED", "message_template_id": 7})
        journal(own, payload, payload)
        await read_all(own.processor)
        assert ask(
            own,
            "SELECT data ->> 'accountId', split_part(type, '.', 2), data -> 'value' ->> 'event' "
            "FROM events WHERE subject = 'account'",
        ) == [(WABA, "message_template_status_update", "APPROVED")]

    scenario(portless, play)


def with_template(own: ChannelEnv, index: int, waba_id: str) -> None:
    """Let a connection belong to a business account and know one approved template."""
    hello = {"provider_id": "7", "name": "hello", "language": "en_US", "category": "UTILITY", "status": "APPROVED"}
    listed = {**hello, "reason": "", "quality": "GREEN", "components": []}
    own.store.run(connections.update, own.ids[index], waba_id=waba_id)
    connection: connections.Connection | None = own.store.run(connections.by_index, COMPANY, index)
    assert connection is not None
    own.store.run(connections.prove, own.ids[index], [waba_id], connection.credentials)
    own.store.run(templates.write, own.ids[index], "live", [listed], at=datetime(2025, 1, 1, tzinfo=UTC), whole=False)


ACCOUNT_EVENTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "message_template_status_update": {"event": "REJECTED", "message_template_id": 7, **HELLO},
    "message_template_quality_update": {"new_quality_score": "RED", **HELLO},
    "template_category_update": {"new_category": "MARKETING", **HELLO},
    "phone_number_quality_update": {"event": "DOWNGRADE", "current_limit": "TIER_50"},
    "phone_number_name_update": {"decision": "DENIED", "requested_verified_name": "x"},
    "account_update": {"event": "DISABLED_UPDATE"},
    "account_alerts": {"alert_type": "x"},
    "account_review_update": {"decision": "REJECTED"},
}


def known_of(own: ChannelEnv, index: int) -> list[Any]:
    """What is known about a connection's account, number and templates."""
    return ask(own, f"SELECT status, quality, category FROM templates WHERE connection_id = {own.ids[index]}") + ask(
        own, f"SELECT facts FROM phone_status WHERE connection_id = {own.ids[index]} AND facts <> '{{}}'"
    )


@pytest.mark.parametrize("claimed_waba", [WABA, "200000000000002", ""])
@pytest.mark.parametrize("field", ACCOUNT_EVENTS)
def test_an_account_event_changes_the_owners_of_its_door_only(
    portless: MakeSettings, field: str, claimed_waba: str
) -> None:
    """Whatever account its connection claims to have, the door of one 360dialog number changes nothing of another
    connection.
    """

    async def play(own: ChannelEnv) -> None:
        with_template(own, DIRECT, WABA)
        with_template(own, D360, claimed_waba)
        await own.accounts.refresh()
        before = known_of(own, DIRECT)
        payload = account_event(field, ACCOUNT_EVENTS[field])
        raw = RawEvent(source="d360", body=json.dumps(payload).encode(), connection_id=own.ids[D360])
        own.store.run(inbound.journal, KIND.name, [raw])
        own_before = known_of(own, D360)
        await read_all(own.processor)
        assert known_of(own, DIRECT) == before
        if claimed_waba not in ("", WABA):
            assert known_of(own, D360) == own_before
            assert ask(own, "SELECT outcome FROM inbound_journal") == [
                ("entry[0].changes[0].id: not the account of the number whose door this is",)
            ]
        else:
            assert known_of(own, D360) != own_before
        journal(own, account_event(field, ACCOUNT_EVENTS[field]))
        await read_all(own.processor)
        assert known_of(own, DIRECT) != before, "what Meta signs is about its account's connections"

    scenario(portless, play)


def test_processing_again_changes_nothing_and_stops_nothing(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        (row,) = claimed(own)
        now = int(datetime.now(UTC).timestamp())
        failed = status("failed", token=own.token(row), provider_id="wamid.F", at=now, errors=[{"code": 131042}])
        value = {
            "contacts": [named("Ann", wa_id="15550100200")],
            "messages": [text("x", "wamid.1"), edit("wamid.1", "wamid.E", "y")],
            "statuses": [failed],
        }
        ids = journal(own, webhook(value), webhook({"messages": [text("x", "wamid.2")]}, number="1"))
        await read_all(own.processor)
        connection = own.store.run(connections.by_index, COMPANY, DIRECT)
        assert connection is not None
        assert connection.status == "paused"
        own.store.run(connections.resume, own.ids[DIRECT])

        def everything() -> list[Any]:
            tables = ("inbound_messages", "contacts", "messages", "events", "phone_configs")
            return [
                ask(own, f"SELECT to_jsonb({table}) - 'updated_at' FROM {table} ORDER BY 1::text") for table in tables
            ]

        before = everything()
        assert own.store.run(inbound_journal.replay, ids) == ids
        assert own.store.run(inbound_journal.replay, ids) == []
        again = WebhookProcessor(own.store, own.accounts, Metrics(), kind=KIND.name)
        await read_all(again, own.processor)
        assert everything() == before
        rows = own.store.run(inbound_journal.rows, KIND.name, inbound_journal.Choice(named=True), most=10)
        assert [(found["id"], found["attempts"]) for found in rows] == [(ids[1], 2)]
        # the number has a connection by now
        own.store.run(
            connections.ensure, company_id=COMPANY, phone_index=9, connection_type="meta_direct", account_id="1"
        )
        own.store.run(inbound_journal.replay, [ids[1]])
        await read_all(own.processor)
        assert ask(own, "SELECT count(*) FROM inbound_messages WHERE provider_id = 'wamid.2'") == [(1,)]
        assert own.store.run(inbound_journal.outcomes, [ids[1]]) == [
            {"id": ids[1], "is_processed": True, "outcome": ""}
        ]

    scenario(portless, play)
