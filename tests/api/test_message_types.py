"""Every type of message by its own path and by a body that names it: what is written, and what is refused before
anything is.
"""

from __future__ import annotations

from typing import Any

import pytest
import requests

from shared import content
from shared.compose.types import TYPES
from tests.api.api_env import ApiEnv, problem

PICTURE = "https://93.184.216.34/parcel.jpg"
LINK = "https://example.com"
BUTTONS = TYPES["interactive"].examples[0]["interactive"]
LIST = TYPES["interactive"].examples[1]["interactive"]


def post(
    api_env: ApiEnv, type_: str, body: Any, *, chat: str, company: str = "alpha", **arguments: Any
) -> requests.Response:
    """Send a message by the path of its type."""
    return api_env.call("POST", f"/api/v2/messages/{type_}/{company}/{chat}", json=body, **arguments)


def kept(api_env: ApiEnv, answer: requests.Response) -> dict[str, Any]:
    """Return the content of the row that an answer names."""
    assert answer.status_code == 202, answer.text
    (row,) = api_env.sql("SELECT type, content FROM messages WHERE id = %s", answer.json()["id"])
    assert row["type"] == answer.json()["type"]
    made: dict[str, Any] = row["content"]
    return made


RIGHT: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "text with a preview": (
        "text",
        {"message": "see https://example.com", "preview": True},
        {"body": "see https://example.com", "quoted": None, "preview": True},
    ),
    "image by address": ("image", {"url": PICTURE, "caption": "so"}, {"media": {"link": PICTURE}, "caption": "so"}),
    "image by the provider's id": (
        "image",
        {"mediaId": "17", "mimetype": "image/PNG"},
        {"media": {"id": "17", "mimetype": "image/png"}},
    ),
    "video by address": ("video", {"url": PICTURE}, {"media": {"link": PICTURE}}),
    "voice note": ("audio", {"url": PICTURE, "voice": True}, {"media": {"link": PICTURE}, "voice": True}),
    "document with a name": (
        "document",
        {"url": PICTURE, "filename": "../a\u202eb/../invoice\u202e 1.pdf", "mimetype": "application/pdf"},
        {
            "media": {"link": PICTURE, "mimetype": "application/pdf", "filename": "invoice 1.pdf"},
            "filename": "invoice 1.pdf",
        },
    ),
    "sticker": ("sticker", {"url": PICTURE}, {"media": {"link": PICTURE}}),
    "location": (
        "location",
        {"latitude": 52, "longitude": -13.5, "name": "here"},
        {"latitude": 52, "longitude": -13.5, "name": "here"},
    ),
    "contacts in short": (
        "contacts",
        {"contacts": [{"name": "Ada Byron Lovelace", "phones": ["+1 555 010 0300", {"phone": "1", "type": "WORK"}]}]},
        {
            "contacts": [
                {
                    "name": {
                        "formatted_name": "Ada Byron Lovelace",
                        "first_name": "Ada",
                        "last_name": "Byron Lovelace",
                    },
                    "phones": [{"phone": "+1 555 010 0300"}, {"phone": "1", "type": "WORK"}],
                }
            ]
        },
    ),
    "contacts in full": (
        "contacts",
        {
            "contacts": [
                {
                    "name": {"formatted_name": "Ada", "first_name": "Ada"},
                    "emails": [{"email": "ada@example.com"}],
                    "birthday": "1815-12-10",
                }
            ]
        },
        {
            "contacts": [
                {
                    "name": {"formatted_name": "Ada", "first_name": "Ada"},
                    "emails": [{"email": "ada@example.com"}],
                    "birthday": "1815-12-10",
                }
            ]
        },
    ),
    "buttons": ("interactive", {"interactive": BUTTONS}, BUTTONS),
    "list": ("interactive", {"interactive": LIST}, LIST),
    "a kind that came later": (
        "interactive",
        {
            "interactive": {
                "type": "hologram",
                "body": {"text": "x"},
                "action": {"name": "show", "parameters": {"deep": [{"er": 1}]}},
            }
        },
        {"type": "hologram", "body": {"text": "x"}, "action": {"name": "show", "parameters": {"deep": [{"er": 1}]}}},
    ),
    "product without a body": (
        "interactive",
        {"interactive": {"type": "product", "action": {"catalog_id": "1", "product_retailer_id": "2"}}},
        {"type": "product", "action": {"catalog_id": "1", "product_retailer_id": "2"}},
    ),
    "template": (
        "template",
        {
            "name": "parcel_sent",
            "language": "de",
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "1001"}]}],
        },
        {
            "name": "parcel_sent",
            "language": "de",
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "1001"}]}],
        },
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_it_is_written_as_it_was_meant_by_either_path(api_env: ApiEnv, name: str) -> None:
    type_, body, expected = RIGHT[name]
    chat = "15550100700"
    first = post(api_env, type_, body, chat=chat, headers={"Idempotency-Key": name.replace(" ", "-")})
    assert kept(api_env, first) == expected
    assert first.json()["type"] == type_
    again = api_env.call(
        "POST",
        f"/api/v2/messages/alpha/{chat}",
        json={"type": type_, **body},
        headers={"Idempotency-Key": name.replace(" ", "-")},
    )
    assert again.headers["Idempotency-Replayed"] == "true", again.text
    assert again.json() == first.json()
    shown = api_env.call("GET", first.headers["Location"]).json()
    in_chat = next(
        entry
        for entry in api_env.call("GET", f"/api/v2/messages/alpha/{chat}?limit=200").json()["messages"]
        if entry["id"] == shown["id"]
    )
    names = body.keys() - {"url", "mediaId", "mimetype"}
    for seen in (shown, in_chat):
        assert seen["type"] == type_
        assert names <= seen.keys(), "what was sent is shown under the same names"
        if "url" in body:
            assert seen["media"]["url"] == PICTURE
            assert seen["media"]["status"] == "linked"


def test_quotes_schedules_and_policies_are_for_every_type_that_says_something(api_env: ApiEnv) -> None:
    chat = "15550100701"
    quoted = api_env.send("the question", chat=chat).json()["id"]
    api_env.sql("UPDATE messages SET state = 'sent', provider_id = 'wamid.q701' WHERE id = %s", quoted)
    for type_, body, _ in RIGHT.values():
        answer = post(api_env, type_, {**body, "quotedMessageId": quoted, "sendAt": "2099-01-01T00:00:00Z"}, chat=chat)
        assert problem(answer)["type"] == "send_at_invalid"
        answer = post(api_env, type_, {**body, "quotedMessageId": quoted, "inDoubtPolicy": "hold"}, chat=chat)
        assert kept(api_env, answer)["quoted"] == "wamid.q701"
        shown = api_env.call("GET", answer.headers["Location"]).json()
        assert (shown["quotedMessageId"], shown["inDoubtPolicy"]) == ("wamid.q701", "hold")


def interactive(kind: str, action: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"interactive": {"type": kind, "body": {"text": "x"}, "action": action, **rest}}


def button(title: str = "Yes", id_: str = "y") -> dict[str, Any]:
    return {"type": "reply", "reply": {"id": id_, "title": title}}


def rows(number: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": str(first + index), "title": "row"} for index in range(number)]


WRONG: dict[str, tuple[str, Any, str]] = {
    "no file at all": ("image", {"caption": "x"}, ""),
    "two sources": ("image", {"url": PICTURE, "mediaId": "1"}, ""),
    "an address of another kind": ("image", {"url": "ftp://example.com/x"}, "/url"),
    "an address of this machine": ("image", {"url": "http://127.0.0.1:6379/"}, "/url"),
    "an address in the cellar": ("image", {"url": "http://169.254.169.254/latest/meta-data"}, "/url"),
    "a file that nobody has": ("image", {"sha256": "0" * 64}, "/sha256"),
    "a digest that is none": ("image", {"sha256": "x"}, "/sha256"),
    "data that is no base64": ("image", {"data": "not base64!"}, "/data"),
    "data of nothing": ("document", {"data": "data:,"}, "/data"),
    "a file in JSON": ("image", {"file": "x"}, "/file"),
    "a caption under an audio": ("audio", {"url": PICTURE, "caption": "x"}, "/caption"),
    "latitude beyond the pole": ("location", {"latitude": 91, "longitude": 0}, "/latitude"),
    "longitude as a word": ("location", {"latitude": 1, "longitude": "0"}, "/longitude"),
    "no contacts": ("contacts", {"contacts": []}, "/contacts"),
    "six contacts": ("contacts", {"contacts": [{"name": "x"}] * 6}, "/contacts"),
    "a contact without a name": ("contacts", {"contacts": [{"phones": ["1"]}]}, "/contacts/0/name"),
    "a phone whose type is a number": (
        "contacts",
        {"contacts": [{"name": "x", "phones": [{"phone": "1", "type": 7}]}]},
        "/contacts/0/phones/0/type",
    ),
    "a phone that is a number": ("contacts", {"contacts": [{"name": "x", "phones": [1]}]}, "/contacts/0/phones/0"),
    "four buttons": (
        "interactive",
        interactive("button", {"buttons": [button(id_=str(number)) for number in range(4)]}),
        "/interactive/action/buttons",
    ),
    "a button of 21 characters": (
        "interactive",
        interactive("button", {"buttons": [button("x" * 21)]}),
        "/interactive/action/buttons/0/reply/title",
    ),
    "two buttons of one id": (
        "interactive",
        interactive("button", {"buttons": [button(), button("No")]}),
        "/interactive/action/buttons",
    ),
    "a body of 1,025 characters": (
        "interactive",
        interactive("button", {"buttons": [button()]}, body={"text": "x" * 1025}),
        "/interactive/body/text",
    ),
    "a footer of 61 characters": (
        "interactive",
        interactive("button", {"buttons": [button()]}, footer={"text": "x" * 61}),
        "/interactive/footer/text",
    ),
    "a button without its index": (
        "template",
        {"name": "x", "language": "de", "components": [{"type": "button", "sub_type": "url"}]},
        "/components/0/index",
    ),
    "a template's name that is none": ("template", {"name": "Hello", "language": "de"}, "/name"),
    "a language that is none": ("template", {"name": "x", "language": "german"}, "/language"),
    "a file that Meta does not take": (
        "interactive",
        interactive("button", {"buttons": [button()]}, header={"type": "gif", "gif": {"id": "1"}}),
        "/interactive/header/type",
    ),
    "a header without what it names": (
        "interactive",
        interactive("button", {"buttons": [button()]}, header={"type": "image"}),
        "/interactive/header/image",
    ),
    "eleven rows in one section": (
        "interactive",
        interactive("list", {"button": "b", "sections": [{"rows": rows(11)}]}),
        "/interactive/action/sections/0/rows",
    ),
    "eleven rows in two sections": (
        "interactive",
        interactive(
            "list", {"button": "b", "sections": [{"title": "a", "rows": rows(6)}, {"title": "b", "rows": rows(5, 6)}]}
        ),
        "/interactive/action/sections",
    ),
    "two sections without a title": (
        "interactive",
        interactive("list", {"button": "b", "sections": [{"title": "a", "rows": rows(1)}, {"rows": rows(1, 1)}]}),
        "/interactive/action/sections/1/title",
    ),
    "a flow with two names": (
        "interactive",
        interactive(
            "flow",
            {
                "name": "flow",
                "parameters": {"flow_message_version": "3", "flow_cta": "x", "flow_id": "1", "flow_name": "x"},
            },
        ),
        "/interactive/action/parameters",
    ),
    "no body": (
        "interactive",
        {"interactive": {"type": "button", "action": {"buttons": [button()]}}},
        "/interactive/body",
    ),
    "no action": ("interactive", {"interactive": {"type": "button", "body": {"text": "x"}}}, "/interactive/action"),
    "an action deeper than all reason": (
        "interactive",
        interactive("new", {"a": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}),
        "/interactive/action/a" + "/0" * 16,
    ),
    "NUL deep inside": (
        "template",
        {"name": "x", "language": "de", "components": [{"type": "body", "more": ["a\0"]}]},
        "/components/0/more/0",
    ),
    "a header's file that nobody has": (
        "interactive",
        interactive("button", {"buttons": [button()]}, header={"type": "image", "image": {"sha256": "0" * 64}}),
        "/interactive/header/image/sha256",
    ),
    "a template without a language": ("template", {"name": "x"}, "/language"),
    "a tag of another channel": ("text", {"message": "x", "tag": "HUMAN_AGENT"}, "/tag"),
    "an emoji that is a word": ("reaction", {"messageId": "TARGET", "emoji": "yes"}, "/emoji"),
    "typing for a minute": ("typing", {"lastsSeconds": 60}, "/lastsSeconds"),
    "a type that there is not": ("", {"type": "fax"}, "/type"),
    "no type": ("", {"message": "x"}, "/type"),
    "a type that is a number": ("", {"type": 7}, "/type"),
}


@pytest.mark.parametrize("name", WRONG)
def test_it_is_refused_with_the_place(api_env: ApiEnv, name: str) -> None:
    type_, body, pointer = WRONG[name]
    chat = "15550100702"
    if "TARGET" in str(body):
        target = api_env.send("to react to", chat=chat).json()["id"]
        api_env.sql("UPDATE messages SET state = 'sent', provider_id = 'wamid.702' WHERE id = %s", target)
        body = {**body, "messageId": target}
    before = api_env.sql("SELECT count(*) AS rows FROM messages")
    answer = (
        post(api_env, type_, body, chat=chat)
        if type_
        else api_env.call("POST", f"/api/v2/messages/alpha/{chat}", json=body)
    )
    shown = problem(answer)
    assert (answer.status_code, shown["type"]) == (422, "body_invalid")
    assert pointer in [error["pointer"] for error in shown["errors"]], shown["errors"]
    assert api_env.sql("SELECT count(*) AS rows FROM messages") == before, "nothing was accepted"


@pytest.mark.parametrize(
    ("index", "type_", "body"),
    [
        (0, "forward", {"messageId": "1"}),
        (2, "forward", {"messageId": "1"}),
        (0, "typing", {"state": "off"}),
        (1, "interactive", {"interactive": BUTTONS}),
        (1, "template", {"name": "x", "language": "de"}),
    ],
)
def test_what_the_channel_cannot_do_is_refused_before_it_is_queued(
    api_env: ApiEnv, index: int, type_: str, body: dict[str, Any]
) -> None:
    shown = problem(post(api_env, type_, {**body, "phoneIndex": index}, chat="15550100703"))
    assert (shown["type"], shown["reason"]) == ("unsupported_operation", "channel")
    assert shown["operation"] in (type_, "typing_off")
    assert api_env.sql("SELECT id FROM messages WHERE chat_id = '15550100703'") == []


def test_a_caption_has_its_own_limit(api_env: ApiEnv) -> None:
    shown = problem(post(api_env, "image", {"url": PICTURE, "caption": "x" * 1025}, chat="15550100704"))
    assert (shown["type"], shown["field"], shown["limit"], shown["length"]) == ("text_too_long", "caption", 1024, 1025)


def test_the_providers_id_of_a_file_is_nothing_in_a_browser(api_env: ApiEnv) -> None:
    shown = problem(post(api_env, "image", {"mediaId": "1", "phoneIndex": 1}, chat="15550100704"))
    assert [error["pointer"] for error in shown["errors"]] == ["/mediaId"]


def test_waiting_works_for_every_type(api_env: ApiEnv) -> None:
    answer = post(
        api_env, "location", {"latitude": 1, "longitude": 2}, chat="15550100705", headers={"Prefer": "wait=1"}
    )
    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "wait=1"


def test_every_type_has_its_path_and_its_capability(api_env: ApiEnv) -> None:
    listed = api_env.call("GET", "/api/v2/connections/alpha").json()["connections"]
    paths = api_env.call("GET", "/openapi.json", key=None).json()["paths"]
    for name in TYPES:
        assert f"/api/v2/messages/{name}/{{companyId}}/{{chatId}}" in paths
        assert all(name in one["capabilities"] for one in listed)
    assert set(content.MEDIA) <= TYPES.keys()
