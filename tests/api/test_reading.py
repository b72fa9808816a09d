"""Reading: one message with its history, a chat page by page, connections and sessions, and never another company's."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from shared.messages import InboundMessage
from shared.states import MessageState
from shared.store import connections, inbound, messages
from tests.api.api_env import ALPHA, ApiEnv, problem


def pages(api_env: ApiEnv, chat: str, limit: int) -> list[list[dict[str, Any]]]:
    found, cursor = [], ""
    while True:
        page = api_env.call(
            "GET", f"/api/v2/messages/alpha/{chat}?limit={limit}{f'&cursor={cursor}' if cursor else ''}"
        ).json()
        found.append(page["messages"])
        cursor = page["next"]
        if cursor is None:
            return found


def test_a_message_shows_its_whole_history(api_env: ApiEnv) -> None:
    sent = api_env.send("a long life", chat="15550100500")
    message_id = int(sent.json()["id"])
    fresh = api_env.call("GET", sent.headers["Location"]).json()
    assert [step["state"] for step in fresh["history"]] == ["queued"]
    assert fresh["createdAt"] == sent.json()["createdAt"]
    assert (fresh["sentAt"], fresh["providerMessageId"], fresh["error"], fresh["attempt"]) == (None, None, None, 0)

    api_env.run(messages.claim, kind="meta", incarnation="meta-0.a", ids=[message_id], most=1, token_at_claim=True)
    retry = messages.Settlement(
        id=message_id, state=MessageState.QUEUED, code="131056", detail="pair rate limit", after_s=0
    )
    api_env.run(messages.settle, incarnation="meta-0.a", settlements=[retry])
    api_env.run(messages.claim, kind="meta", incarnation="meta-1.b", ids=[message_id], most=1, token_at_claim=True)
    sent_it = messages.Settlement(id=message_id, state=MessageState.SENT, provider_id="wamid.500")
    api_env.run(messages.settle, incarnation="meta-1.b", settlements=[sent_it])

    shown = api_env.call("GET", sent.headers["Location"]).json()
    assert shown["status"] == "sent"
    assert shown["message"] == "a long life"
    assert (shown["attempt"], shown["providerMessageId"]) == (2, "wamid.500")
    assert shown["sentAt"] is not None
    steps = [
        (step["state"], step["attempt"], step["incarnation"], step["code"], step["detail"]) for step in shown["history"]
    ]
    assert steps == [
        ("queued", 0, None, None, None),
        ("sending", 1, "meta-0.a", None, None),
        ("queued", 1, "meta-0.a", "131056", "pair rate limit"),
        ("sending", 2, "meta-1.b", None, None),
        ("sent", 2, "meta-1.b", None, None),
    ]
    instants = [step["at"] for step in shown["history"]]
    assert instants == sorted(instants)


def test_a_dead_letter_shows_its_reason(api_env: ApiEnv) -> None:
    sent = api_env.send("refused", chat="15550100501")
    message_id = int(sent.json()["id"])
    api_env.run(messages.claim, kind="meta", incarnation="meta-0.a", ids=[message_id], most=1, token_at_claim=True)
    dead = messages.Settlement(id=message_id, state=MessageState.FAILED, code="131026", detail="not a WhatsApp number")
    api_env.run(messages.settle, incarnation="meta-0.a", settlements=[dead])
    shown = api_env.call("GET", sent.headers["Location"]).json()
    assert shown["status"] == "failed"
    assert shown["error"] == {"code": "131026", "detail": "not a WhatsApp number"}


def test_a_chat_is_read_page_by_page_in_both_directions(api_env: ApiEnv) -> None:
    chat = "15550100502"
    expected = []
    (connection_id,) = [
        row["id"] for row in api_env.sql("SELECT id FROM phone_configs WHERE company_id = 'alpha' AND phone_index = 0")
    ]
    for number in range(4):
        expected.append(("out", api_env.send(f"out {number}", chat=chat).json()["id"]))
        arrived = InboundMessage(
            connection_id=connection_id,
            provider_id=f"wamid.in.{number}",
            chat_id=chat,
            sender=chat,
            type="text" if number else "image",
            content={"body": f"in {number}"}
            if number
            else {"media": {"id": "900", "mimetype": "image/jpeg"}, "caption": "a picture"},
            at=api_env.sql("SELECT now() AS now")[0]["now"],
            from_me=number == 3,
        )
        (row,) = api_env.run(inbound.insert, [(arrived, None)])
        expected.append(("out" if number == 3 else "in", str(row["id"])))
    newest_first = expected[::-1]
    for limit in (1, 3, 7, 8, 9):
        found = pages(api_env, chat, limit)
        assert [(entry["direction"], entry["id"]) for page in found for entry in page] == newest_first
        assert all(len(page) == limit for page in found[:-1])
        assert found[-1], "the last page is not empty"
    (whole,) = pages(api_env, "+1 555 010 0502", 50)
    assert (whole[-1]["message"], whole[-1]["status"], whole[-1]["sender"]) == ("out 0", "queued", None)
    assert (whole[-2]["type"], whole[-2]["caption"], whole[-2]["status"], whole[-2]["sender"]) == (
        "image",
        "a picture",
        "received",
        chat,
    )
    assert whole[-2]["media"] == {"mimetype": "image/jpeg", "mediaId": "900", "status": "unknown"}
    assert whole[0]["message"] == "in 3"


def test_a_chat_without_messages_is_an_empty_page(api_env: ApiEnv) -> None:
    assert api_env.call("GET", "/api/v2/messages/alpha/15550100999").json() == {"messages": [], "next": None}


def test_no_company_sees_anothers(api_env: ApiEnv) -> None:
    ours = api_env.send("a secret of alpha", chat="15550100503", headers={"Idempotency-Key": "secret"})
    message_id = ours.json()["id"]
    for method in ("GET", "PUT", "DELETE"):
        answer = api_env.call(method, f"/api/v2/messages/beta/15550100503/{message_id}")
        assert problem(answer)["type"] == "message_unknown"
    assert api_env.call("GET", "/api/v2/messages/beta/15550100503").json()["messages"] == []
    assert problem(api_env.call("GET", "/api/v2/sessions/beta/1"))["type"] == "phone_index_unknown"
    assert [one["phoneIndex"] for one in api_env.call("GET", "/api/v2/connections/beta").json()["connections"]] == [0]
    theirs = api_env.send("a secret of beta", company="beta", chat="15550100503")
    assert [entry["message"] for page in pages(api_env, "15550100503", 50) for entry in page] == ["a secret of alpha"]
    assert (
        problem(api_env.call("GET", f"/api/v2/messages/alpha/15550100503/{theirs.json()['id']}"))["type"]
        == "message_unknown"
    )


def test_a_message_is_found_only_in_its_own_chat(api_env: ApiEnv) -> None:
    message_id = api_env.send("here", chat="15550100504").json()["id"]
    assert api_env.call("GET", f"/api/v2/messages/alpha/+1%20555%20010%200504/{message_id}").status_code == 200
    assert problem(api_env.call("GET", f"/api/v2/messages/alpha/15550100505/{message_id}"))["type"] == "message_unknown"


def test_connections_say_what_they_are_and_what_they_can(api_env: ApiEnv) -> None:
    listed = api_env.call("GET", "/api/v2/connections/alpha").json()["connections"]
    assert {one["phoneIndex"]: one["connectionType"] for one in listed} == ALPHA
    by_index = {one["phoneIndex"]: one for one in listed}
    assert by_index[0]["capabilities"]["text"] == {"supported": True, "limits": {"characters": 4096}}
    assert by_index[1]["capabilities"]["text"] == {"supported": True, "limits": {"characters": 65536}}
    assert by_index[0]["capabilities"]["delete"] == {"supported": False, "reason": "channel"}
    assert by_index[1]["capabilities"]["delete"] == {"supported": True}
    assert by_index[0]["capabilities"]["sticker"] == {
        "supported": True,
        "limits": {"bytes": 512000, "bytesOfStill": {"image/webp": 102400}, "mimetypes": ["image/webp"]},
    }
    assert by_index[2]["capabilities"]["typing_off"] == {"supported": False, "reason": "channel"}
    assert by_index[1]["capabilities"]["template"] == {"supported": False, "reason": "channel"}
    assert (by_index[3]["status"], by_index[3]["statusReason"]) == ("paused", "an operator paused it")
    assert (by_index[0]["process"], by_index[1]["process"]) == ("meta", "webdriver")
    assert by_index[0]["state"] == "absent"
    assert api_env.call("GET", "/api/v2/connections/empty").json() == {"companyId": "empty", "connections": []}


def test_a_session_shows_its_code_while_there_is_one(api_env: ApiEnv) -> None:
    (connection_id,) = [
        row["id"] for row in api_env.sql("SELECT id FROM phone_configs WHERE company_id = 'alpha' AND phone_index = 1")
    ]
    session = "/api/v2/sessions/alpha/1"
    api_env.sql("DELETE FROM phone_status WHERE connection_id = %s", connection_id)
    blank = api_env.call("GET", session).json()
    assert (blank["state"], blank["qr"], blank["desired"]) == ("absent", None, "linked")
    assert problem(api_env.call("GET", f"{session}/qr"))["state"] == "absent"

    code = "2@AbCdEf0123456789,key,secret"
    api_env.run(
        connections.observe,
        connection_id=connection_id,
        status="needs_link",
        incarnation="webdriver-0.a",
        proved_s=0.0,
        detail="scan it",
        qr=code,
    )
    shown = api_env.call("GET", session)
    assert (shown.json()["state"], shown.json()["qr"], shown.json()["detail"]) == ("needs_link", code, "scan it")
    assert shown.headers["Cache-Control"] == "no-store"
    picture = api_env.call("GET", f"{session}/qr")
    assert (picture.headers["Content-Type"], picture.content[:8]) == ("image/png", b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture.content[16:24])
    assert width == height > 100
    drawn = api_env.call("GET", f"{session}/qr?format=svg")
    assert drawn.headers["Content-Type"] == "image/svg+xml"
    assert b"<svg" in drawn.content
    text = api_env.call("GET", f"{session}/qr?format=txt")
    assert text.headers["Content-Type"].startswith("text/plain")
    assert "▀" in text.content.decode()

    api_env.run(
        connections.observe,
        connection_id=connection_id,
        status="ready",
        incarnation="webdriver-0.a",
        qr=code,
        proved_s=0.0,
    )
    answer = api_env.call("GET", f"{session}/qr")
    assert (answer.status_code, problem(answer)["type"], problem(answer)["state"]) == (404, "code_absent", "ready")
    assert api_env.call("GET", session).json()["qr"] is None


@pytest.mark.parametrize("desired", ["paused", "logged_out", "linked"])
def test_what_a_session_should_be_is_written_down(api_env: ApiEnv, desired: str) -> None:
    answer = api_env.call("POST", "/api/v2/sessions/alpha/1", json={"desired": desired})
    assert answer.status_code == 202
    assert answer.json()["desired"] == desired
    assert api_env.call("GET", "/api/v2/sessions/alpha/1").json()["desired"] == desired
    (row,) = api_env.sql("SELECT desired_state FROM phone_configs WHERE company_id = 'alpha' AND phone_index = 1")
    assert row["desired_state"] == desired
