"""What is done about messages that are there: edited, deleted, answered by a reaction, forwarded, marked as read; and
what it leaves on them.
"""

from __future__ import annotations

from typing import Any

import pytest
import requests

from shared.messages import InboundMessage, Receipt
from shared.states import MessageState
from shared.store import inbound, messages, receipts
from shared.store.messages import TARGETING_TYPES, Settlement
from tests.api.api_env import ApiEnv, problem

BROWSER = 1


def sent(api_env: ApiEnv, chat: str, text: str = "said", index: int = BROWSER) -> str:
    """Return the path of a message that was sent."""
    answer = api_env.send(text, chat=chat, phoneIndex=index)
    message_id = answer.json()["id"]
    api_env.sql(
        "UPDATE messages SET state = 'sent', sent_at = now(), provider_id = %s WHERE id = %s",
        f"id-{message_id}",
        message_id,
    )
    return str(answer.headers["Location"])


def received(api_env: ApiEnv, chat: str, name: str, index: int = BROWSER, **fields: Any) -> str:
    """Return our id of a message that came in."""
    (connection,) = api_env.sql(
        "SELECT id, now() AS now FROM phone_configs WHERE company_id = 'alpha' AND phone_index = %s", index
    )
    content = fields.pop("content", {"body": "hello"})
    message = InboundMessage(
        connection_id=connection["id"],
        provider_id=name,
        chat_id=chat,
        sender=chat,
        content=content,
        at=connection["now"],
        **({"type": "text"} | fields),
    )
    (row,) = api_env.run(inbound.insert, [(message, None)])
    return str(row["id"])


def carry_out(api_env: ApiEnv, answer: requests.Response, state: MessageState = MessageState.SENT) -> None:
    """Claim what was accepted and write that it was done."""
    assert answer.status_code == 202, answer.text
    message_id = int(answer.json()["id"])
    kind = "webdriver" if answer.json()["connectionType"] == "wwebjs" else "meta"
    (claimed,) = api_env.run(messages.claim, kind=kind, incarnation="x", ids=[message_id], most=1, token_at_claim=False)
    assert claimed.id == message_id
    settlement = Settlement(
        id=message_id,
        state=state,
        provider_id=f"id-{message_id}" if state == "sent" else "",
        acts=claimed.type in TARGETING_TYPES,
    )
    api_env.run(messages.settle, incarnation="x", settlements=[settlement])


def content_of(api_env: ApiEnv, answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    (row,) = api_env.sql("SELECT content FROM messages WHERE id = %s", answer.json()["id"])
    found: dict[str, Any] = row["content"]
    return found


def test_an_edit_is_a_message_of_its_own_and_changes_the_one_that_it_is_about(api_env: ApiEnv) -> None:
    place = sent(api_env, "15550100800", "teh text")
    target = place.rsplit("/", 1)[1]
    answer = api_env.call("PUT", place, json={"message": "the text"}, headers={"Idempotency-Key": "edit-800"})
    assert answer.json()["type"] == "edit"
    assert answer.headers["Location"] != place
    assert content_of(api_env, answer) == {"target": f"id-{target}", "target_id": int(target), "body": "the text"}
    assert api_env.call("GET", place).json()["message"] == "teh text", "nothing happened yet"
    carry_out(api_env, answer)
    shown = api_env.call("GET", place).json()
    assert (shown["message"], shown["edited"], shown["status"]) == ("the text", True, "sent")
    assert [step["code"] for step in shown["history"]] == [None, "edited"]
    assert answer.json()["id"] in shown["history"][-1]["detail"]
    edit = api_env.call("GET", answer.headers["Location"]).json()
    assert (edit["type"], edit["message"], edit["messageId"], edit["status"]) == ("edit", "the text", target, "sent")
    again = api_env.call("PUT", place, json={"message": "the text"}, headers={"Idempotency-Key": "edit-800"})
    assert again.headers["Idempotency-Replayed"] == "true"


def test_an_edit_that_failed_changes_nothing(api_env: ApiEnv) -> None:
    place = sent(api_env, "15550100801", "as it was")
    carry_out(api_env, api_env.call("PUT", place, json={"message": "as it never was"}), MessageState.FAILED)
    shown = api_env.call("GET", place).json()
    assert shown["message"] == "as it was"
    assert "edited" not in shown


@pytest.mark.parametrize("way", ["receipt", "reclaim", "reconciliation"])
def test_an_edit_takes_effect_whatever_proves_that_it_was_sent(api_env: ApiEnv, way: str) -> None:
    place = sent(api_env, "15550100802", "before")
    answer = api_env.call("PUT", place, json={"message": f"after {way}"})
    message_id = int(answer.json()["id"])
    api_env.run(messages.claim, kind="webdriver", incarnation="dead", ids=[message_id], most=1, token_at_claim=False)
    if way == "reclaim":
        api_env.run(
            messages.reclaim,
            incarnation="dead",
            flights=[{"id": message_id, "stage": "SENT", "text": "id-x"}],
            recorded=True,
        )
    else:
        doubt = Settlement(id=message_id, state=MessageState.IN_DOUBT, code="x")
        api_env.run(messages.settle, incarnation="dead", settlements=[doubt])
        if way == "reconciliation":
            assert api_env.run(
                messages.resolve,
                message_id=message_id,
                attempt=1,
                state=MessageState.SENT,
                code="found",
                incarnation="y",
            )
        else:
            api_env.sql("UPDATE messages SET token = 'tok-802' WHERE id = %s", message_id)
            (row,) = api_env.sql("SELECT connection_id, now() AS now FROM messages WHERE id = %s", message_id)
            api_env.run(
                receipts.apply,
                [
                    Receipt(
                        connection_id=row["connection_id"], state=MessageState.DELIVERED, at=row["now"], token="tok-802"
                    )
                ],
            )
    assert api_env.call("GET", place).json()["message"] == f"after {way}"


@pytest.mark.parametrize(
    ("whom", "status", "code"), [("everyone", "deleted", "deleted"), ("me", "sent", "deleted_for_me")]
)
def test_what_was_sent_is_deleted(api_env: ApiEnv, whom: str, status: str, code: str) -> None:
    place = sent(api_env, f"1555010081{len(whom)}")
    answer = api_env.call("DELETE", f"{place}?for={whom}")
    assert content_of(api_env, answer)["everyone"] == (whom == "everyone")
    assert api_env.call("GET", answer.headers["Location"]).json()["for"] == whom
    carry_out(api_env, answer)
    shown = api_env.call("GET", place).json()
    assert (shown["status"], shown["deleted"], shown["deletedFor"]) == (status, True, whom)
    assert shown["history"][-1]["code"] == code
    if whom == "everyone":
        again = api_env.call("DELETE", place)
        assert (again.status_code, again.json()["status"]) == (200, "deleted"), "said again the answer is the same"
        assert problem(api_env.call("PUT", place, json={"message": "too late"}))["type"] == "message_not_sent"


def test_what_others_wrote_is_deleted_for_oneself_only(api_env: ApiEnv) -> None:
    chat = "15550100820"
    message_id = received(api_env, chat, "in-820")
    place = f"/api/v2/messages/alpha/{chat}/{message_id}"
    refused = problem(api_env.call("DELETE", place))
    assert (refused["type"], refused["operation"], refused["reason"]) == ("unsupported_operation", "delete", "channel")
    assert problem(api_env.call("PUT", place, json={"message": "x"}))["type"] == "unsupported_operation"
    carry_out(api_env, api_env.call("DELETE", f"{place}?for=me"))
    shown = api_env.call("GET", place).json()
    assert (shown["direction"], shown["status"], shown["deletedFor"], shown["sender"]) == ("in", "received", "me", chat)


def test_what_was_written_on_the_phone_is_deleted_for_everyone(api_env: ApiEnv) -> None:
    chat = "15550100821"
    message_id = received(api_env, chat, "in-821", from_me=True)
    carry_out(api_env, api_env.call("DELETE", f"/api/v2/messages/alpha/{chat}/{message_id}"))
    (entry,) = [
        one
        for one in api_env.call("GET", f"/api/v2/messages/alpha/{chat}").json()["messages"]
        if one["id"] == message_id
    ]
    assert (entry["status"], entry["deleted"]) == ("deleted", True)


def test_whom_it_is_deleted_for_must_be_known(api_env: ApiEnv) -> None:
    assert problem(api_env.call("DELETE", f"{sent(api_env, '15550100822')}?for=them"))["parameter"] == "for"


def test_meta_neither_edits_nor_deletes(api_env: ApiEnv) -> None:
    for index in (0, 2):
        place = sent(api_env, "15550100823", index=index)
        for method, operation in (("PUT", "edit"), ("DELETE", "delete")):
            refused = problem(api_env.call(method, place, json={"message": "x"}))
            assert (refused["type"], refused["operation"], refused["reason"]) == (
                "unsupported_operation",
                operation,
                "channel",
            )


@pytest.mark.parametrize("message_id", ["%00", "1%00", "9" * 30])
def test_an_id_that_no_message_can_have_is_unknown(api_env: ApiEnv, message_id: str) -> None:
    answer = api_env.call("POST", f"/api/messages/react/alpha/{message_id}", json={"emoji": "👍"})
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:bulkhead:problem:message_unknown")


@pytest.mark.parametrize("index", [0, BROWSER])
def test_a_reaction_by_either_path(api_env: ApiEnv, index: int) -> None:
    chat = f"1555010083{index}"
    message_id = received(api_env, chat, f"in-83{index}", index=index)
    for body, path in (
        ({"emoji": "👍"}, f"/api/messages/react/alpha/{message_id}"),
        ({"emoji": "❤️"}, f"/api/messages/react/alpha/in-83{index}"),
        ({"emoji": "1️⃣", "messageId": message_id, "phoneIndex": index}, f"/api/v2/messages/reaction/alpha/{chat}"),
    ):
        answer = api_env.call("POST", path, json=body)
        assert answer.json()["chatId"] == chat
        assert answer.json()["connectionType"] == ("wwebjs" if index else "meta_direct")
        assert content_of(api_env, answer) == {
            "emoji": body["emoji"],
            "target": f"in-83{index}",
            "target_id": int(message_id),
        }
        carry_out(api_env, answer)
    place = f"/api/v2/messages/alpha/{chat}/{message_id}"
    received(
        api_env, chat, f"r1-83{index}", index=index, type="reaction", content={"emoji": "😮", "target": f"in-83{index}"}
    )
    assert api_env.call("GET", place).json()["reactions"] == [
        {"from": None, "emoji": "1️⃣"},
        {"from": chat, "emoji": "😮"},
    ], "the last of each counts"
    received(
        api_env, chat, f"r2-83{index}", index=index, type="reaction", content={"emoji": "", "target": f"in-83{index}"}
    )
    carry_out(api_env, api_env.call("POST", f"/api/messages/react/alpha/{message_id}", json={"emoji": ""}))
    assert "reactions" not in api_env.call("GET", place).json(), "both were taken back"


def test_a_reaction_to_an_unknown_message_is_refused(api_env: ApiEnv) -> None:
    queued = api_env.send("still here", chat="15550100840", phoneIndex=BROWSER).json()["id"]
    assert (
        problem(api_env.call("POST", f"/api/messages/react/alpha/{queued}", json={"emoji": "👍"}))["type"]
        == "message_not_sent"
    )
    assert (
        problem(api_env.call("POST", "/api/messages/react/alpha/999999999", json={"emoji": "👍"}))["type"]
        == "message_unknown"
    )
    assert (
        problem(api_env.call("POST", "/api/messages/react/nobody/1", json={"emoji": "👍"}))["type"] == "company_unknown"
    )
    assert (
        problem(api_env.call("POST", f"/api/messages/react/beta/{queued}", json={"emoji": "👍"}))["type"]
        == "message_unknown"
    ), "another company's"
    wrong = api_env.call(
        "POST",
        "/api/v2/messages/reaction/alpha/15550100841",
        json={"emoji": "👍", "messageId": queued, "phoneIndex": BROWSER},
    )
    assert problem(wrong)["type"] == "message_unknown", "of another chat"


def test_a_message_of_any_chat_of_the_connection_is_forwarded(api_env: ApiEnv) -> None:
    message_id = received(api_env, "15550100850", "in-850")
    answer = api_env.call(
        "POST", "/api/v2/messages/forward/alpha/15550100851", json={"messageId": message_id, "phoneIndex": BROWSER}
    )
    assert content_of(api_env, answer) == {
        "target": "in-850",
        "target_id": int(message_id),
        "source_chat": "15550100850",
    }
    shown = api_env.call("GET", answer.headers["Location"]).json()
    assert (shown["chatId"], shown["messageId"], shown["sourceChatId"]) == ("15550100851", message_id, "15550100850")
    elsewhere = received(api_env, "15550100850", "in-850-meta", index=0)
    refused = api_env.call(
        "POST", "/api/v2/messages/forward/alpha/15550100851", json={"messageId": elsewhere, "phoneIndex": BROWSER}
    )
    assert problem(refused)["type"] == "message_unknown", "another connection's"


@pytest.mark.parametrize("index", [0, BROWSER])
def test_reading_and_typing(api_env: ApiEnv, index: int) -> None:
    chat = f"1555010086{index}"
    read, typing = f"/api/v2/messages/read/alpha/{chat}", f"/api/v2/messages/typing/alpha/{chat}"
    assert problem(api_env.call("POST", read, json={"phoneIndex": index}))["type"] == "message_not_received"
    first = received(api_env, chat, f"in-86{index}-1", index=index)
    newest = received(api_env, chat, f"in-86{index}-2", index=index)
    received(api_env, chat, f"in-86{index}-3", index=index, type="reaction", content={"emoji": "x", "target": "y"})
    received(api_env, chat, f"in-86{index}-4", index=index, from_me=True)
    answer = api_env.call("POST", read, json={"phoneIndex": index}, headers={"Idempotency-Key": f"read-{index}"})
    assert content_of(api_env, answer) == {"target": f"in-86{index}-2", "target_id": int(newest)}
    received(api_env, chat, f"in-86{index}-5", index=index)
    again = api_env.call("POST", read, json={"phoneIndex": index}, headers={"Idempotency-Key": f"read-{index}"})
    assert again.headers["Idempotency-Replayed"] == "true", "what came since makes it no other request"
    answer = api_env.call("POST", read, json={"phoneIndex": index, "messageId": first})
    assert content_of(api_env, answer)["target"] == f"in-86{index}-1"
    ours = sent(api_env, chat, index=index).rsplit("/", 1)[1]
    assert (
        problem(api_env.call("POST", read, json={"phoneIndex": index, "messageId": ours}))["type"]
        == "message_not_received"
    )
    answer = api_env.call("POST", typing, json={"phoneIndex": index, "lastsSeconds": 5})
    expected: dict[str, Any] = {"state": "composing", "lasts_s": 5}
    assert content_of(api_env, answer).items() >= expected.items()
    assert ("target" in content_of(api_env, answer)) == (index == 0), "on Meta typing answers something"
    assert api_env.call("GET", answer.headers["Location"]).json()["lastsSeconds"] == 5
    if index == BROWSER:
        answer = api_env.call("POST", typing, json={"phoneIndex": index, "state": "off"})
        assert content_of(api_env, answer) == {"state": "paused", "lasts_s": 0}
        assert api_env.call("GET", answer.headers["Location"]).json()["state"] == "off"


def test_what_acts_on_a_message_is_none_to_act_on(api_env: ApiEnv) -> None:
    place = sent(api_env, "15550100870")
    edit = api_env.call("PUT", place, json={"message": "x"})
    carry_out(api_env, edit)
    assert problem(api_env.call("PUT", edit.headers["Location"], json={"message": "y"}))["type"] == "message_unknown"
    assert (
        problem(api_env.call("POST", f"/api/messages/react/alpha/{edit.json()['id']}", json={"emoji": "👍"}))["type"]
        == "message_unknown"
    )


def test_what_is_queued_of_any_type_is_cancelled(api_env: ApiEnv) -> None:
    place = sent(api_env, "15550100871")
    edit = api_env.call("PUT", place, json={"message": "never"})
    answer = api_env.call("DELETE", edit.headers["Location"])
    assert (answer.status_code, answer.json()["status"]) == (200, "deleted")
    assert api_env.call("GET", place).json()["message"] == "said"


def test_what_was_done_about_a_message_is_not_deleted(api_env: ApiEnv) -> None:
    reaction = api_env.call(
        "POST", f"/api/messages/react/alpha/{sent(api_env, '15550100872').rsplit('/', 1)[1]}", json={"emoji": "👍"}
    )
    carry_out(api_env, reaction)
    assert problem(api_env.call("DELETE", reaction.headers["Location"]))["type"] == "unsupported_operation"


RECEIVED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "text": ("text", {"body": "hi", "quoted": "w.1"}, {"message": "hi", "quotedMessageId": "w.1"}),
    "edited": (
        "text",
        {"body": "hi", "edited_at": "2026-01-01T00:00:00Z"},
        {"message": "hi", "edited": True, "editedAt": "2026-01-01T00:00:00.000Z"},
    ),
    "location": ("location", {"latitude": 1.5, "longitude": 2, "url": "x"}, {"latitude": 1.5, "longitude": 2}),
    "button": ("button", {"text": "Yes", "payload": "y"}, {"text": "Yes", "payload": "y"}),
    "choice": (
        "interactive",
        {"kind": "list_reply", "id": "s", "title": "S"},
        {"interactive": {"kind": "list_reply", "id": "s", "title": "S"}},
    ),
    "reaction": (
        "reaction",
        {"emoji": "x", "target": "w.2"},
        {"emoji": "x", "targetProviderId": "w.2", "messageId": None},
    ),
    "revoke": ("revoke", {"target": "w.3"}, {"targetProviderId": "w.3"}),
    "edit of a caption": (
        "edit",
        {"target": "w.4", "type": "image", "content": {"caption": "new"}},
        {"message": "new", "targetProviderId": "w.4"},
    ),
    "order": ("order", {"catalog_id": "1", "product_items": []}, {"content": {"catalog_id": "1", "product_items": []}}),
    "unknown": ("unknown", {"type": "hologram", "keys": ["a"]}, {"content": {"type": "hologram", "keys": ["a"]}}),
}


@pytest.mark.parametrize("name", RECEIVED)
def test_what_came_in_is_shown_as_what_goes_out(api_env: ApiEnv, name: str) -> None:
    type_, content, expected = RECEIVED[name]
    chat = "15550100880"
    message_id = received(api_env, chat, f"in-880-{name}", type=type_, content=content, context={"forwarded": True})
    one = api_env.call("GET", f"/api/v2/messages/alpha/{chat}/{message_id}").json()
    (entry,) = [
        row
        for row in api_env.call("GET", f"/api/v2/messages/alpha/{chat}").json()["messages"]
        if row["id"] == message_id
    ]
    for shown in (one, entry):
        assert shown["type"] == type_
        assert (
            shown.items()
            >= {**expected, "context": {"forwarded": True}, "direction": "in", "status": "received"}.items()
        )


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("pending", {"status": "pending", "mediaId": "900", "mimetype": "image/jpeg"}),
        ("failed", {"status": "failed", "mediaId": "900", "mimetype": "image/jpeg", "reason": "gone"}),
        (
            "stored",
            {
                "status": "stored",
                "mimetype": "image/png",
                "size": 5,
                "sha256": "ab" * 32,
                "url": f"/api/v2/media/alpha/{'ab' * 32}",
            },
        ),
    ],
)
def test_a_file_that_came_in_says_where_it_is(api_env: ApiEnv, state: str, expected: dict[str, Any]) -> None:
    chat = "15550100890"
    content = {"media": {"id": "900", "mimetype": "image/jpeg", "sha256": "the provider's"}}
    message_id = received(api_env, chat, f"in-890-{state}", type="image", content=content)
    ours = ("ab" * 32, "image/png", 5) if state == "stored" else ("", "", 0)
    api_env.sql(
        "INSERT INTO inbound_media (message_id, company_id, connection_id, process_name, source, state, sha256, "
        "mimetype, size, reason) "
        "SELECT id, company_id, connection_id, 'meta', '{}', %s, %s, %s, %s, %s FROM inbound_messages WHERE id = %s",
        state,
        *ours,
        "gone" if state == "failed" else "",
        message_id,
    )
    assert api_env.call("GET", f"/api/v2/messages/alpha/{chat}/{message_id}").json()["media"] == expected
