"""Each case of `data/` has the right answer: those that this page judges, and those that another test does."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.cases.env import CasesEnv, text_from, wamid
from tests.meta.env import new_chat
from tests.meta.seed import signature, status, webhook
from tests.support import samples
from tests.support.environment import REPOSITORY
from tests.support.waiting import eventually

DATA: Final = Path(__file__).parent / "data"
CASES: Final = {path.stem: json.loads(path.read_text()) for path in sorted(DATA.glob("*.json"))}

Judge = Callable[[CasesEnv, Any], None]
JUDGES: dict[str, Judge] = {}


def judges(*names: str) -> Callable[[Judge], Judge]:
    """Let a function judge cases."""

    def add(judge: Judge) -> Judge:
        JUDGES.update(dict.fromkeys(names, judge))
        return judge

    return add


@pytest.mark.parametrize("name", CASES)
def test_a_case_has_the_right_answer(env: CasesEnv, name: str) -> None:
    if name in JUDGES:
        JUDGES[name](env, CASES[name]["input"])
    else:
        path, _, function = JUDGED_ELSEWHERE[name].partition("::")
        assert f"def {function}(" in (REPOSITORY / path).read_text()


def test_each_case_says_where_it_is_from_and_what_is_right() -> None:
    assert not [name for name, case in CASES.items() if not (case["report"] and case["about"] and case["expected"])]
    assert CASES.keys() == JUDGES.keys() | JUDGED_ELSEWHERE.keys()


# what comes in


@judges("05-bsuid-only-inbound")
def bsuid_only(env: CasesEnv, given: Mapping[str, str]) -> None:
    user = given["from_user_id"]
    message = text_from("", "hello", from_user_id=user)
    del message["from"]
    env.receive(message)
    shown = env.newest(user)
    assert (shown["message"], shown["chatId"], shown["sender"]) == ("hello", user, user)


@judges("08-reaction-removed-without-emoji")
def reaction_removed(env: CasesEnv, given: Mapping[str, Any]) -> None:
    chat, target = new_chat(), given["reaction"]["message_id"]
    env.receive(text_from(chat, "well?", id=target))
    now = int(time.time())
    reaction = {"from": chat, "id": wamid(), "timestamp": str(now), "type": "reaction"}
    env.receive({**reaction, "reaction": {"message_id": target, "emoji": "👍"}})
    assert [one["emoji"] for one in line_of(env, chat, target)["reactions"]] == ["👍"]
    env.receive({**reaction, "id": wamid(), "timestamp": str(now + 1), **given})
    assert "reactions" not in line_of(env, chat, target)


def line_of(env: CasesEnv, chat: str, provider_id: str) -> dict[str, Any]:
    """Return one line of a chat by the provider's id."""
    (found,) = [one for one in env.chat(chat) if one["providerMessageId"] == provider_id]
    return found


@judges("10-batch-and-duplicates")
def batch_and_duplicates(env: CasesEnv, given: Mapping[str, Any]) -> None:
    ours = new_chat()
    answer = env.ask(ours, {"type": "text", "message": "hello"})
    row = int(answer.json()["id"])
    eventually(lambda: env.row(row)["provider_id"], 20, "it was sent")
    provider_id = env.row(row)["provider_id"]
    old = given["entry"][0]["changes"][1]["value"]["statuses"][0]["id"]
    payload = json.loads(json.dumps(given).replace(old, provider_id))
    for _ in range(3):
        env.receive_raw(payload)
    assert env.state(row) == "read"
    kept = env.query(
        "SELECT content ->> 'body', count(*) FROM inbound_messages WHERE provider_id = ANY(%s) GROUP BY 1 ORDER BY 1",
        [one["id"] for entry in given["entry"] for change in entry["changes"] for one in change["value"]["messages"]],
    )
    assert kept == [("1", 1), ("2", 1), ("3", 1), ("4", 1)]


@judges("11-status-downgrade", "11b-delivered-and-131026")
def status_order(env: CasesEnv, given: list[str]) -> None:
    (row,) = sent_rows(env, 1)
    provider_id = env.row(row)["provider_id"]
    for given_word in given:
        word, _, code = given_word.partition(" ")
        errors: dict[str, Any] = {"errors": [{"code": int(code), "title": "x"}]} if code else {}
        one = status(word, provider_id=provider_id, at=int(time.time()), **errors)
        env.receive(statuses=[one])
    assert env.state(row) == ("read" if "read" in given else "delivered")
    assert not env.row(row)["error_code"]


def sent_rows(env: CasesEnv, count: int) -> list[int]:
    """Return rows that were sent, and of which the sandbox reports nothing more."""
    env.control("POST", "settings", {"statuses": ["sent"]})
    rows = [int(env.ask(new_chat(), {"type": "text", "message": "x"}).json()["id"]) for _ in range(count)]
    for row in rows:
        env.wait_state(row, "sent")
    return rows


@judges("14-unknown-with-errors")
def unknown_with_errors(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    (error,) = line_of(env, given["from"], given["id"])["content"]["errors"]
    assert error == {
        "code": 131051,
        "title": "Unsupported message type",
        "details": "Message type is not currently supported",
    }


@judges("15-flow-answer")
def flow_answer(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    shown = line_of(env, given["from"], given["id"])
    kept = shown.get("interactive") or shown.get("content") or shown
    assert kept["response"]["screen_0_Rating_0"] == "Excelente"
    assert kept["response"]["list"] == ["a", "b"]
    assert kept["id"] == "flow"


@judges("16-order")
def order(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    kept = line_of(env, given["from"], given["id"])["content"]
    assert (kept["catalog_id"], kept["text"]) == ("1948369", "deliver on Friday")
    assert kept["product_items"] == given["order"]["product_items"]


@judges("17-ad-referral")
def ad_referral(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    assert line_of(env, given["from"], given["id"])["context"]["referral"] == given["referral"]


@judges("18-contacts-odd")
def odd_contacts(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    shown = line_of(env, given["from"], given["id"])
    assert shown["contacts"] == given["contacts"]


@judges("19-edited-twice-out-of-order")
def edited_twice(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    at = int(given["timestamp"])
    for after_s, words in ((20, "newest words"), (10, "newer words")):
        new = {"type": "text", "text": {"body": words}}
        edit = {"original_message_id": given["id"], "message": new}
        env.receive(
            {"from": given["from"], "id": wamid(), "timestamp": str(at + after_s), "type": "edit", "edit": edit}
        )
    shown = line_of(env, given["from"], given["id"])
    assert (shown["message"], shown["edited"]) == ("newest words", True)


@judges("20-button-of-template")
def template_button(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    shown = line_of(env, given["from"], given["id"])
    assert (shown["text"], shown["payload"]) == ("Confirm", "ORDER-7")
    assert shown["quotedMessageId"] == "wamid.X"


@judges("21-group-message", "40-group-id-of-meta")
def group_message(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    shown = line_of(env, given["group_id"], given["id"])
    assert (shown["chatId"], shown["sender"], shown["message"]) == (
        given["group_id"],
        given["from"],
        given["text"]["body"],
    )


@judges("22-product-enquiry-forwarded")
def product_enquiry(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    context = line_of(env, given["from"], given["id"])["context"]
    assert context == given["context"]


@judges("25-coexistence-echo")
def coexistence_echo(env: CasesEnv, given: list[Mapping[str, Any]]) -> None:
    by_phone, by_api = given
    (row,) = sent_rows(env, 1)
    ours = {**by_api, "id": env.row(row)["provider_id"]}
    for _ in range(2):
        env.receive(field="smb_message_echoes", message_echoes=[by_phone, ours])
    lines = env.query(
        "SELECT provider_id, from_me FROM inbound_messages WHERE provider_id = ANY(%s)", [by_phone["id"], ours["id"]]
    )
    assert lines == [(by_phone["id"], True)]
    assert line_of(env, by_phone["to"], by_phone["id"])["direction"] == "out"


@judges("46-echo-with-media")
def echo_with_media(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(field="smb_message_echoes", message_echoes=[given])
    shown = line_of(env, given["to"], given["id"])
    assert (shown["direction"], shown["caption"], shown["type"]) == ("out", "from the phone", "image")
    assert shown["media"]["mediaId"] == "4214800910844457" or shown["media"]["status"] == "stored"


@judges("26b-media-expired")
def media_expired(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    eventually(
        lambda: line_of(env, given["from"], given["id"])["media"]["status"] == "failed",
        30,
        lambda: line_of(env, given["from"], given["id"]),
    )
    assert line_of(env, given["from"], given["id"])["media"]["reason"]


@judges("33-number-changed")
def number_changed(env: CasesEnv, given: Mapping[str, str]) -> None:
    old, new = given["from"], given["to"]
    env.receive(text_from(old, "before"))
    system = {"type": "user_changed_number", "body": f"{old} changed to {new}", "wa_id": new}
    env.receive({"from": old, "id": wamid(), "timestamp": str(int(time.time())), "type": "system", "system": system})
    assert new in json.dumps(env.newest(old))
    env.receive(text_from(new, "after"))
    assert env.newest(new)["message"] == "after"


@judges("41-filename-of-a-stranger")
def stranger_filename(env: CasesEnv, given: list[str]) -> None:
    chat = new_chat()
    for name in given:
        document = {"id": "900", "mime_type": "application/pdf", "filename": name}
        message: dict[str, Any] = {"from": chat, "id": wamid(), "timestamp": "1796001600", "type": "document"}
        message["document"] = document
        env.receive(message)
        shown = line_of(env, chat, message["id"])
        for kept in (shown.get("filename"), shown["media"].get("filename")):
            assert kept is None or (
                kept.isprintable() and "/" not in kept and "\\" not in kept and len(kept.encode()) <= 240
            )


@judges("47-edit-of-a-caption")
def caption_edited(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    media_id = line_of(env, given["from"], given["id"])["media"].get("mediaId")
    image = {key: value for key, value in given["image"].items() if key != "caption"} | {"caption": "before"}
    edit = {"original_message_id": given["id"], "message": {"type": "image", "image": image}}
    at = str(int(given["timestamp"]) + 5)
    env.receive({"from": given["from"], "id": wamid(), "timestamp": at, "type": "edit", "edit": edit})
    shown = line_of(env, given["from"], given["id"])
    assert (shown["caption"], shown["edited"], shown["media"].get("mediaId")) == ("before", True, media_id)


# Messenger and Instagram


@judges("34-fallback-null-payload")
def fallback(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive_raw(given)
    shown = page_line(env, given)
    assert shown["message"] == "Dyon Enter 32"
    assert shown["context"]["attachments"][0]["url"] == "https://l.facebook.com/l.php?u=x"


def page_line(env: CasesEnv, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first line of what one webhook of a Page or an Instagram account brought."""
    (item,) = given["entry"][0].get("messaging") or given["entry"][0]["standby"]
    return env.chat(item["sender"]["id"])[-1]


@judges("35-like-sticker")
def like(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive_raw(given)
    assert page_line(env, given)["type"] == "sticker"


@judges("36-standby-postback")
def standby_postback(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive_raw(given)
    shown = page_line(env, given)
    assert (shown["type"], shown["text"], shown["context"]["standby"]) == ("button", "Get Started", True)
    sender = given["entry"][0]["standby"][0]["sender"]["id"]
    assert env.query("SELECT may_trigger FROM inbound_messages WHERE chat_id = %s", sender) == [(False,)]


@judges("37-ig-unsupported")
def unsupported(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive_raw(given)
    assert page_line(env, given)["type"] == "unsupported"


@judges("38-ig-share-and-post")
def share_and_post(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive_raw(given)
    assert "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=1" in json.dumps(page_line(env, given))


@judges("38b-ig-story-reply")
def story_reply(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive_raw(given)
    shown = page_line(env, given)
    assert (shown["message"], shown["context"]["story"]["url"]) == ("how much?", "https://lookaside.fbsbx.com/story")


@judges("53b-unsend-of-two-files")
def unsend_of_two(env: CasesEnv, given: Mapping[str, str]) -> None:
    person, page = "7458518054941299", "400000000000001"

    def item(**message: Any) -> dict[str, Any]:
        at = int(time.time() * 1000)
        one = {
            "sender": {"id": person},
            "recipient": {"id": page},
            "timestamp": at,
            "message": {"mid": given["mid"], **message},
        }
        return {"object": "page", "entry": [{"id": page, "time": at, "messaging": [one]}]}

    files = [{"type": "image", "payload": {"url": f"https://scontent.xx/{number}.png"}} for number in range(2)]
    env.receive_raw(item(attachments=files))
    env.receive_raw(item(is_deleted=True))
    pictures = [one for one in env.chat(person) if one["type"] == "image"]
    assert [one.get("deleted") for one in pictures] == [True, True]


@judges("55-window-by-own-time")
def window_by_own_time(env: CasesEnv, given: Mapping[str, Any]) -> None:
    payload = json.loads(json.dumps(given))
    three_days_ago = int((time.time() - 3 * 86400) * 1000)
    (item,) = payload["entry"][0]["messaging"]
    item["timestamp"] = payload["entry"][0]["time"] = three_days_ago
    env.receive_raw(payload)
    answer = env.ask(item["sender"]["id"], {"type": "text", "message": "late"}, phoneIndex=env.pages["messenger"])
    assert answer.status_code == 202
    row = int(answer.json()["id"])
    env.wait_state(row, "failed")
    assert env.row(row)["error_code"] == "outside_window"


# what is sent


@judges("27b-octet-stream-png", "27-opus-voice", "27c-csv-document", "28-document-name-caption")
def files_sent(env: CasesEnv, given: Mapping[str, Any]) -> None:
    body = dict(given)
    if body.get("data") == "…":
        body["data"] = base64.b64encode(samples.OGG).decode()
    answer = env.ask(new_chat(), body)
    if answer.status_code == 422:
        assert given["mimetype"] == "text/csv"
        return
    assert answer.status_code == 202, answer.text
    row = int(answer.json()["id"])
    eventually(lambda: env.state(row) in ("sent", "delivered", "read", "failed"), 20, lambda: env.history(row))
    assert env.state(row) != "failed", env.history(row)
    (arrived,) = env.arrived(row)
    kind = arrived["message"]["type"]
    own = arrived["message"][kind]
    assert own.get("filename", given.get("filename")) == given.get("filename") or kind != "document"
    assert own.get("caption") == given.get("caption")
    assert own.get("voice") == given.get("voice")


@judges("28c-document-by-link-without-name")
def linked_document(env: CasesEnv, given: Mapping[str, Any]) -> None:
    arrived = env.sent(new_chat(), given)
    assert arrived["message"]["document"]["filename"] == "prices May.pdf"


@judges("29-template-named-header", "29b-template-document-header", "30d-button-payload-flow")
def template_sent(env: CasesEnv, given: Mapping[str, Any]) -> None:
    answer = env.ask(new_chat(), given)
    assert answer.status_code == 202, answer.text
    row = int(answer.json()["id"])
    eventually(lambda: env.state(row) in ("sent", "delivered", "read", "failed"), 20, lambda: env.history(row))
    body = json.dumps(
        [
            entry
            for entry in env.control("GET", "ledger", since=env.since, limit=10_000)["entries"]
            if entry.get("callback", "").startswith(f"bulkhead:{row}:")
        ]
    )
    assert env.row(row)["error_code"] != "invalid_content"
    for words in ("HEADER", '"index": 0'):
        assert words not in body


@judges("30-button-title-21")
def refused_at_once(env: CasesEnv, given: Mapping[str, Any]) -> None:
    answer = env.ask(new_chat(), given)
    assert answer.status_code == 422
    assert "20" in answer.text


@judges("48-stranger-renames-our-file")
def renamed_file(env: CasesEnv, given: Mapping[str, str]) -> None:
    content = b"%PDF-1.4\n" + b"our prices\n" * 40
    upload = env.http.post(
        f"http://127.0.0.1:{env.settings.port('api')}/api/v2/media/demo?filename={given['upload']}",
        data=content,
        headers={"Authorization": f"Bearer {env.settings.api_key}", "Content-Type": "application/pdf"},
        timeout=20,
    )
    assert upload.status_code == 201, upload.text
    sha256, chat = upload.json()["sha256"], new_chat()
    assert (
        env.sent(new_chat(), {"type": "document", "sha256": sha256})["message"]["document"]["filename"] == "prices.pdf"
    )
    received = {"from": chat, "id": wamid(), "timestamp": "1796001600", "type": "document"}
    env.receive(
        {**received, "document": {"id": "900", "mime_type": "application/pdf", "filename": given["inbound filename"]}}
    )
    assert (
        env.sent(new_chat(), {"type": "document", "sha256": sha256})["message"]["document"]["filename"] == "prices.pdf"
    )


@judges("54-pass-on-a-card")
def card(env: CasesEnv, given: Mapping[str, Any]) -> None:
    answer = env.ask(new_chat(), {"type": "contacts", **given})
    assert answer.status_code == 202, answer.text


@judges("09-new-emoji-reaction")
def new_emoji(env: CasesEnv, given: Mapping[str, list[str]]) -> None:
    chat = new_chat()
    message = text_from(chat, "well?")
    env.receive(message)
    for spelled in given["emoji"]:
        emoji = "".join(chr(int(point.removeprefix("U+"), 16)) for point in spelled.split())
        answer = env.ask(chat, {"type": "reaction", "messageId": message["id"], "emoji": emoji})
        assert answer.status_code == 202, (spelled, answer.text)


@judges("51-spellings")
def spellings(env: CasesEnv, given: list[str]) -> None:
    chats = set()
    for spelled in given:
        answer = env.call("POST", "/api/v2/messages/text/demo/" + quote(spelled), {"message": "x"})
        assert answer.status_code in (202, 422), answer.text
        if answer.status_code == 202:
            chats.add(answer.json()["chatId"])
    assert chats <= {"49301234567", "15550100200"}


@judges("13-signature-unicode")
def signature_of_unicode(env: CasesEnv, given: list[str]) -> None:
    chat = new_chat()
    words = ["¿Qué tal? 😀", "a@b/c", "ünï/cödé"]
    for text in words:
        for spelled in (json.dumps(text), json.dumps(text).replace("/", "\\/"), json.dumps(text, ensure_ascii=False)):
            payload = webhook({"messages": [text_from(chat, "WORDS")]})
            raw = json.dumps(payload).replace('"WORDS"', spelled).encode()
            assert env.post(raw) == 200
            env.wait_journal_read()
            assert env.newest(chat)["message"] == text
            assert env.post(raw + b" ", headers={"X-Hub-Signature-256": signature(raw)}) == 401


@judges("04b-quote-what-is-shown")
def quote_what_is_shown(env: CasesEnv, given: Mapping[str, str]) -> None:
    chat = new_chat()
    message = text_from(chat, "x", id=given["quotedMessageId"])
    env.receive(message)
    assert env.ask(chat, {"type": "text", "message": "y", "quotedMessageId": message["id"]}).status_code == 202


@judges("52-read-after-call")
def read_after_call(env: CasesEnv, given: Mapping[str, str]) -> None:
    chat = new_chat()
    env.receive(text_from(chat, "x", id=given["text"]))
    call = {"id": given["call"], "from": chat, "event": "terminate", "timestamp": str(int(time.time()) + 1)}
    env.receive(field="calls", calls=[call])
    arrived = env.control("GET", "ledger", since=env.since, limit=10_000)
    answer = env.ask(chat, {"type": "read"})
    assert answer.status_code == 202, answer.text
    row = int(answer.json()["id"])
    eventually(lambda: env.state(row) in ("sent", "failed"), 20, lambda: env.history(row))
    assert env.state(row) == "sent", (env.history(row), arrived)


@judges("30b-list-11-rows")
def long_list(env: CasesEnv, given: Mapping[str, Any]) -> None:
    rows = [{"id": str(number), "title": f"row {number}"} for number in range(11)]
    sections = [{"title": "a", "rows": rows[:6]}, {"title": "b", "rows": rows[6:]}]
    action = {"button": "Choose", "sections": sections}
    interactive = {"type": "list", "body": {"text": "x"}, "action": action}
    assert env.ask(new_chat(), {"type": "interactive", "interactive": interactive}).status_code == 422


@judges("05b-who-is-it")
def who_is_it(env: CasesEnv, given: Mapping[str, Any]) -> None:
    user = "CO.10927688322860420"
    message = text_from("", "hello", from_user_id=user)
    del message["from"]
    env.receive(message, contacts=[{"user_id": user, **given}])
    assert given["profile"]["name"] in json.dumps(env.newest(user))


@judges("08b-reactions-out-of-order")
def reactions_out_of_order(env: CasesEnv, given: Mapping[str, list[int]]) -> None:
    chat = new_chat()
    message = text_from(chat, "well?")
    env.receive(message)
    for at, emoji in zip(given["timestamps"], ({}, {"emoji": "👍"}), strict=True):
        reaction = {"message_id": message["id"], **emoji}
        env.receive({"from": chat, "id": wamid(), "timestamp": str(at), "type": "reaction", "reaction": reaction})
    assert "reactions" not in line_of(env, chat, message["id"])


@judges("23-delayed-webhook-time")
def delayed_webhook(env: CasesEnv, given: Mapping[str, Any]) -> None:
    env.receive(given)
    shown = line_of(env, given["from"], given["id"])
    assert "2026-11-27T01:19:55" in json.dumps(shown)


@judges("24-history-order")
def history_order(env: CasesEnv, given: list[Mapping[str, Any]]) -> None:
    customer = "15559116240"
    live = text_from(customer, "live")
    env.receive(live)
    threads = [{"id": customer, "messages": given}]
    env.receive(field="history", history=[{"metadata": {"phase": 0}, "threads": threads}])
    assert [one["message"] for one in env.chat(customer)] == ["live", "past 3", "past 2", "past 1", "past 0"]


@judges("25c-echo-edit-and-revoke")
def echo_edit_and_revoke(env: CasesEnv, given: list[Mapping[str, Any]]) -> None:
    edited, revoked = (json.loads(json.dumps(one)) for one in given)
    (row,) = sent_rows(env, 1)
    by_phone = {"from": edited["from"], "to": edited["to"], "id": wamid(), "timestamp": "1796001596", "type": "text"}
    env.receive(field="smb_message_echoes", message_echoes=[{**by_phone, "text": {"body": "by phone"}}])
    edited["edit"]["original_message_id"] = by_phone["id"]
    revoked |= {"to": env.row(row)["chat_id"]}
    revoked["revoke"]["original_message_id"] = env.row(row)["provider_id"]
    env.receive(field="smb_message_echoes", message_echoes=[edited, revoked])
    assert line_of(env, edited["to"], by_phone["id"])["message"] == "by phone, corrected"
    assert env.state(row) == "deleted"


@judges("31-retry-really-sends")
def retry_really_sends(env: CasesEnv, given: Mapping[str, str]) -> None:
    (row,) = sent_rows(env, 1)
    first = env.row(row)["provider_id"]
    error = {"code": 131053, "title": "Media upload error"}
    env.receive(statuses=[status("failed", provider_id=first, at=int(time.time()), errors=[error])])
    env.wait_state(row, "failed")
    assert env.call("POST", f"/api/v2/messages/demo/{env.row(row)['chat_id']}/{row}/redrive", {}).status_code in (
        200,
        202,
    )
    eventually(lambda: len(env.arrived(row)) == 2, 20, lambda: env.history(row))
    env.wait_state(row, "sent")
    assert env.row(row)["provider_id"] not in ("", first)


@judges("06-bsuid-then-number", "43-linked-by-status")
def linked(env: CasesEnv, given: Mapping[str, str]) -> None:
    user, number = given["user"], given.get("number") or given["num"]
    by_id = text_from("", "by id", from_user_id=user)
    del by_id["from"]
    if "number" in given:
        env.receive(by_id)
        both = text_from(number, "with number", from_user_id=user)
        env.receive(both, contacts=[{"wa_id": number, "user_id": user, "profile": {"name": "Ann"}}])
    else:
        row = int(env.ask(number, {"type": "text", "message": "hello"}).json()["id"])
        eventually(lambda: env.row(row)["provider_id"], 20, "it was sent")
        ids = {"recipient_id": number, "recipient_user_id": user}
        env.receive(statuses=[status("delivered", provider_id=env.row(row)["provider_id"], at=int(time.time())) | ids])
        env.receive(by_id)
    shown = {chat: [one["id"] for one in env.chat(chat)] for chat in (user, number)}
    assert shown[user] == shown[number]
    assert len(shown[user]) >= 2


@judges("01-brazil-ninth-digit", "02-mexico-521")
def another_spelling(env: CasesEnv, given: Mapping[str, str]) -> None:
    ours, theirs = given["sent_to"], next(value for name, value in given.items() if name != "sent_to")
    row = int(env.ask(ours, {"type": "text", "message": "hello"}).json()["id"])
    eventually(lambda: env.row(row)["provider_id"], 20, "it was sent")
    provider_id = env.row(row)["provider_id"]
    env.receive(statuses=[status("delivered", provider_id=provider_id, at=int(time.time())) | {"recipient_id": theirs}])
    env.receive(text_from(theirs, "answer", context={"from": "15550783001", "id": provider_id}))
    assert {one["direction"] for one in env.chat(ours)} == {"in", "out"}
    assert [one["id"] for one in env.chat(ours)] == [one["id"] for one in env.chat(theirs)]


@judges("04-reply-scoped-wamid")
def scoped_wamid(env: CasesEnv, given: Mapping[str, str]) -> None:
    chat = new_chat()
    env.receive(text_from(chat, "first", id=given["stored"]))
    answer = text_from(chat, "second", context={"id": given["context.id"]})
    env.receive(answer)
    assert line_of(env, chat, answer["id"])["quotedMessageId"] == given["stored"]


@judges("32-read-by-provider-id")
def read_by_provider_id(env: CasesEnv, given: Mapping[str, str]) -> None:
    chat = new_chat()
    message = text_from(chat, "x", id=given["quotedMessageId"])
    env.receive(message)
    shown = env.call("GET", f"/api/v2/messages/demo/{chat}/{quote(message['id'], safe='')}")
    assert shown.status_code == 200, shown.text


JUDGED_ELSEWHERE: Final[Mapping[str, str]] = {
    "26-media-in": "tests/meta/test_received_files.py::test_names_are_cleaned_when_they_come_in",
    "49-limits-told-late": "tests/compose/test_objects.py::test_a_wrong_interactive_message_is_named_with_its_place",
}
