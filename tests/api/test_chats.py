"""Chats, lists and searches of a company's messages, quoted messages, and figures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.messages import InboundMessage
from shared.states import MessageState
from shared.store import inbound, messages, reading
from tests.api.api_env import ApiEnv, problem


def advance(api_env: ApiEnv) -> None:
    """Do what the recorder does twice a second."""
    (row,) = api_env.sql("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon")
    while not api_env.run(reading.advance, most_transactions=5000).complete:
        if api_env.run(reading.position) >= row["horizon"]:
            break


def receive(api_env: ApiEnv, chat: str, provider_id: str, body: str, **content: Any) -> str:
    (connection,) = api_env.sql("SELECT id FROM phone_configs WHERE company_id = 'alpha' AND phone_index = 0")
    line = InboundMessage(
        connection_id=connection["id"],
        provider_id=provider_id,
        chat_id=chat,
        sender=chat,
        sender_name="Ada",
        type="text",
        content={"body": body, **content},
        at=datetime.now(UTC),
    )
    return str(api_env.run(inbound.insert, [(line, None)])[0]["id"])


def of(api_env: ApiEnv, path: str) -> dict[str, Any]:
    answer = api_env.call("GET", path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_chat_shows_its_newest_message_and_what_is_unread(api_env: ApiEnv) -> None:
    chat = "15550107001"
    receive(api_env, "15550107000", "wamid.7000", "Good morning")
    first = receive(api_env, chat, "wamid.7001.1", "Where is my parcel?")
    second = receive(api_env, chat, "wamid.7001.2", "Hello?")
    shown = of(api_env, "/api/v2/chats/alpha?limit=1")
    (entry,) = shown["chats"]
    assert (entry["chatId"], entry["aliases"], entry["unread"]) == (chat, [chat], 2)
    assert (entry["lastMessage"]["id"], entry["lastMessage"]["message"]) == (second, "Hello?")
    assert (entry["phoneIndex"], entry["connectionType"], entry["readAt"]) == (0, "meta_direct", None)
    assert shown["next"] is not None
    assert of(api_env, f"/api/v2/chats/alpha?limit=1&cursor={shown['next']}")["chats"][0]["chatId"] != chat
    read = f"/api/v2/chats/alpha/{chat}/read"
    # by our id, by the provider's, by any spelling of the chat
    assert api_env.call("POST", f"{read}?upTo={first}").status_code == 200
    assert of(api_env, "/api/v2/chats/alpha?limit=1")["chats"][0]["unread"] == 1
    marked = api_env.call("POST", "/api/v2/chats/alpha/+1 555 010 7001/read?upTo=wamid.7001.2").json()
    assert marked["chatId"] == chat
    assert of(api_env, "/api/v2/chats/alpha?limit=1")["chats"][0]["unread"] == 0
    assert problem(api_env.call("POST", f"{read}?upTo=999999999"))["type"] == "message_unknown"
    assert problem(api_env.call("POST", "/api/v2/chats/beta/15550107001/read"))["type"] == "message_unknown"


def test_chats_and_messages_are_found_by_number_and_words(api_env: ApiEnv) -> None:
    chat = "15550107002"
    message_id = receive(api_env, chat, "wamid.7002", "The zebra crossing")
    advance(api_env)
    for q in ("zebra", "a zeb", "%2B1 555 010-7002", "1555010700"):
        assert chat in [one["chatId"] for one in of(api_env, f"/api/v2/chats/alpha?q={q}")["chats"]], q
    assert [one["id"] for one in of(api_env, "/api/v2/messages/alpha?q=zebra")["messages"]] == [message_id]
    assert of(api_env, "/api/v2/messages/beta?q=zebra") == {"messages": [], "next": None}
    assert of(api_env, "/api/v2/chats/beta?q=zebra") == {"chats": [], "next": None}


def test_messages_of_unknown_chats_are_listed(api_env: ApiEnv) -> None:
    since = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    received = [receive(api_env, f"1555010710{number}", f"wamid.71.{number}", f"line {number}") for number in range(3)]
    sent = api_env.send("an answer", chat="15550107100").json()["id"]
    place = f"/api/v2/messages/alpha?since={since}"
    assert [one["id"] for one in of(api_env, place)["messages"]] == [sent, *received[::-1]]
    inbound_ones = of(api_env, f"{place}&direction=inbound&limit=2")
    assert [one["id"] for one in inbound_ones["messages"]] == received[:0:-1]
    rest = of(api_env, f"{place}&direction=in&limit=2&cursor={inbound_ones['next']}")
    assert [one["id"] for one in rest["messages"]] == received[:1]
    assert [one["id"] for one in of(api_env, f"{place}&status=queued&phoneIndex=0&type=text")["messages"]] == [sent]
    assert [one["id"] for one in of(api_env, f"{place}&chatId=%2B15550107101")["messages"]] == [received[1]]
    assert of(api_env, f"{place}&until={since}")["messages"] == []


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("chats/alpha?cursor=eyJ4IjoxfQ", "cursor"),
        ("chats/alpha?cursor=WzFd", "cursor"),
        # half of a surrogate pair in place of the chat
        ("chats/alpha?cursor=WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsIlx1ZDgwMCIsMV0", "cursor"),
        ("chats/alpha?q=a", "q"),
        ("chats/alpha?limit=101", "limit"),
        ("messages/alpha?since=yesterday", "since"),
        ("messages/alpha?direction=up", "direction"),
        ("messages/alpha?status=gone", "status"),
        ("analytics/alpha?since=2026-02-30", "since"),
        ("analytics/alpha?since=2020-01-01&until=2026-01-01", "since"),
        ("analytics/alpha?by=week", "by"),
    ],
)
def test_what_cannot_be_is_named(api_env: ApiEnv, path: str, parameter: str) -> None:
    refused = problem(api_env.call("GET", f"/api/v2/{path}"))
    assert (refused["type"], refused["parameter"]) == ("query_invalid", parameter)


def test_a_reply_shows_what_it_quotes(api_env: ApiEnv) -> None:
    chat, other = "15550107003", "15550107004"
    ours = int(api_env.send("Shall we deliver on Monday?", chat=chat).json()["id"])
    api_env.run(messages.claim, kind="meta", incarnation="meta-0.a", ids=[ours], most=1, token_at_claim=True)
    settled = messages.Settlement(id=ours, state=MessageState.SENT, provider_id="wamid.7003.ours")
    api_env.run(messages.settle, incarnation="meta-0.a", settlements=[settled])
    reply = receive(api_env, chat, "wamid.7003.reply", "Yes", quoted="wamid.7003.ours")
    shown = of(api_env, f"/api/v2/messages/alpha/{chat}/{reply}")
    assert shown["quotedMessage"] == {
        "id": str(ours),
        "providerMessageId": "wamid.7003.ours",
        "direction": "out",
        "type": "text",
        "text": "Shall we deliver on Monday?",
    }
    assert of(api_env, f"/api/v2/messages/alpha/{chat}")["messages"][0]["quotedMessage"] == shown["quotedMessage"]
    # who knows an id does not take part in its chat; and an id that is not known here stays an id
    stranger = receive(api_env, other, "wamid.7004", "What?", quoted="wamid.7003.ours")
    unknown = {"id": None, "providerMessageId": "wamid.7003.ours", "direction": None, "type": None, "text": None}
    assert of(api_env, f"/api/v2/messages/alpha/{other}/{stranger}")["quotedMessage"] == unknown
    # the provider's ids are taken where ours are
    refused = problem(api_env.call("PUT", f"/api/v2/messages/alpha/{chat}/wamid.7003.ours", json={"message": "x"}))
    assert refused["type"] == "unsupported_operation", "found, on a channel that cannot edit"
    refused = problem(api_env.call("DELETE", f"/api/v2/messages/alpha/{other}/wamid.7003.ours"))
    assert refused["type"] == "message_unknown", "in its own chat only"


def test_figures_of_a_day_by_type(api_env: ApiEnv) -> None:
    advance(api_env)
    before = of(api_env, "/api/v2/analytics/alpha")["total"]
    receive(api_env, "15550107005", "wamid.7005", "Hello")
    ours = int(api_env.send("fast", chat="15550107005").json()["id"])
    api_env.run(messages.claim, kind="meta", incarnation="meta-0.a", ids=[ours], most=1, token_at_claim=True)
    settled = messages.Settlement(id=ours, state=MessageState.SENT, provider_id="wamid.7005.ours")
    api_env.run(messages.settle, incarnation="meta-0.a", settlements=[settled])
    advance(api_env)
    shown = of(api_env, "/api/v2/analytics/alpha?by=day,connection,type")
    total = shown["total"]
    assert {name: total[name] - before[name] for name in ("accepted", "sent", "received", "delivered", "failed")} == {
        "accepted": 1,
        "sent": 1,
        "received": 1,
        "delivered": 0,
        "failed": 0,
    }
    assert total["sentLatencyMs"]["p50"] <= total["sentLatencyMs"]["p95"]
    assert sum(row["sent"] for row in shown["rows"]) == total["sent"]
    assert {"day", "phoneIndex", "connectionType", "type"} <= set(shown["rows"][0])
    assert of(api_env, "/api/v2/analytics/empty")["total"]["sent"] == 0
    assert problem(api_env.call("GET", "/api/v2/analytics/nobody"))["type"] == "company_unknown"
