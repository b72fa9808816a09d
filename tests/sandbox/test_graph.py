"""The Graph API and 360dialog as a client sees them: what is taken, what is refused, and in which words."""

from __future__ import annotations

import base64
import re
from typing import Any

import jsonschema_rs
import pytest

from sandbox.config import D360_ID, META_EMBEDDED_ID
from tests.sandbox.env import CUSTOMER, SandboxEnv, text

_ERROR = jsonschema_rs.Draft202012Validator(
    {
        "type": "object",
        "required": ["error"],
        "additionalProperties": False,
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "code", "fbtrace_id"],
                "additionalProperties": False,
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "code": {"type": "integer"},
                    "error_subcode": {"type": "integer"},
                    "is_transient": {"type": "boolean"},
                    "fbtrace_id": {"type": "string", "pattern": "^A[A-Za-z0-9_-]{22}$"},
                    "error_data": {
                        "type": "object",
                        "required": ["messaging_product", "details"],
                        "properties": {"messaging_product": {"const": "whatsapp"}, "details": {"type": "string"}},
                    },
                },
            }
        },
    }
)


def test_a_text_is_taken_and_named_as_meta_does(env: SandboxEnv) -> None:
    answer = env.send(text("Grüße 👋", to="+1 (555) 010-0200", biz_opaque_callback_data="gw1:7"))
    assert answer.status_code == 200
    message_id = answer.json()["messages"][0]["id"]
    assert answer.json() == {
        "messaging_product": "whatsapp",
        "contacts": [{"input": "+1 (555) 010-0200", "wa_id": "15550100200"}],
        "messages": [{"id": message_id}],
    }
    raw = base64.b64decode(message_id.removeprefix("wamid."))
    assert re.fullmatch(rb"\x1c\x18\x0b15550100200\x15\x02\x00\x11\x18\x12[0-9A-F]{18}\x00", raw)
    (accepted,) = env.ledger("accepted")
    assert accepted["id"] == message_id
    assert (accepted["channel"], accepted["to"], accepted["callback"], accepted["type"]) == (
        "graph",
        "15550100200",
        "gw1:7",
        "text",
    )
    assert accepted["message"]["text"] == {"body": "Grüße 👋"}


def test_answers_carry_metas_headers(env: SandboxEnv) -> None:
    for answer in (env.send(text(), version="v24.0"), env.send({}, version="v24.0")):
        assert answer.headers["facebook-api-version"] == "v24.0"
        assert answer.headers["x-fb-trace-id"]
        assert answer.headers["x-fb-request-id"]
        assert "call_count" in answer.headers["x-app-usage"]


def test_other_recipients_and_numbers(env: SandboxEnv) -> None:
    assert env.send(text(), META_EMBEDDED_ID).status_code == 200
    to_user = {name: value for name, value in text().items() if name != "to"} | {"recipient": "US.abc123"}
    assert env.send(to_user).json()["contacts"] == [{"input": "US.abc123", "user_id": "US.abc123"}]
    assert env.send(text(to="group-1", recipient_type="group")).json()["contacts"] == [
        {"input": "group-1", "wa_id": "group-1"}
    ]
    template = {
        "messaging_product": "whatsapp",
        "to": CUSTOMER,
        "type": "template",
        "template": {"name": "hello", "language": {"code": "en"}},
    }
    assert env.send(template).json()["messages"][0]["message_status"] == "accepted"
    assert [entry["to"] for entry in env.ledger("accepted")] == ["15550100200", "US.abc123", "group-1", "15550100200"]


def test_a_read_receipt_is_taken(env: SandboxEnv) -> None:
    answer = env.send(
        {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": "wamid.X",
            "typing_indicator": {"type": "text"},
        }
    )
    assert answer.json() == {"success": True}
    assert [(entry["message_id"], entry["typing"]) for entry in env.ledger("read_by_business")] == [("wamid.X", True)]


REFUSALS: dict[str, tuple[dict[str, Any], int, int, int, str]] = {
    # what is sent; status, code, subcode (0: none), words
    "no token": (
        {"message": text(), "token": ""},
        401,
        104,
        0,
        "An access token is required to request this resource.",
    ),
    "wrong token": (
        {"message": text(), "token": "x"},
        401,
        190,
        0,
        "Invalid OAuth access token - Cannot parse access token",
    ),
    "token that is no ASCII": (
        {"message": text(), "token": "ü"},
        401,
        190,
        0,
        "Invalid OAuth access token - Cannot parse access token",
    ),
    "unknown number": (
        {"message": text(), "phone_number_id": "999"},
        400,
        100,
        33,
        "Unsupported post request. Object with ID '999' does not exist",
    ),
    "360dialog's number": ({"message": text(), "phone_number_id": D360_ID}, 400, 100, 33, "Unsupported post request."),
    "version to come": ({"message": text(), "version": "v99.0"}, 400, 2500, 0, "Unknown path components"),
    "no version": ({"message": text(), "version": "latest"}, 400, 2500, 0, "Unknown path components"),
    "not JSON": ({"message": b"{"}, 400, 100, 0, "(#100) The parameter messaging_product is required."),
    "not UTF-8": ({"message": b'{"a":"\xff"}'}, 400, 100, 0, "(#100) The parameter messaging_product is required."),
    "nested too deeply": (
        {"message": b"[" * 100_000},
        400,
        100,
        0,
        "(#100) The parameter messaging_product is required.",
    ),
    "NaN": (
        {"message": b'{"messaging_product":NaN}'},
        400,
        100,
        0,
        "(#100) The parameter messaging_product is required.",
    ),
    "not an object": ({"message": []}, 400, 100, 0, "(#100) The parameter messaging_product is required."),
    "over a megabyte": ({"message": text("x" * (1 << 20))}, 400, 100, 0, "(#100) Invalid parameter"),
    "no product": ({"message": {"to": CUSTOMER}}, 400, 100, 0, "(#100) The parameter messaging_product is required."),
    "no text": (
        {"message": {"messaging_product": "whatsapp", "to": CUSTOMER}},
        400,
        131008,
        0,
        "(#131008) Required parameter is missing",
    ),
    "no body": ({"message": text(text={})}, 400, 131008, 0, "(#131008) Required parameter is missing"),
    "empty body": ({"message": text("")}, 400, 100, 0, "(#100) Param text['body'] must be at least 1 characters long."),
    "long body": (
        {"message": text("x" * 4097)},
        400,
        100,
        0,
        "(#100) Param text['body'] must be at most 4096 characters long.",
    ),
    "body is a number": (
        {"message": text(text={"body": 5})},
        400,
        100,
        0,
        "(#100) Param text['body'] must be of type string.",
    ),
    "unknown type": ({"message": text(type="fax")}, 400, 100, 0, "(#100) Param type must be one of {audio, contacts,"),
    "unknown key": ({"message": text(colour="red")}, 400, 100, 0, "(#100) Unexpected key colour on param root."),
    "long callback": (
        {"message": text(biz_opaque_callback_data="x" * 513)},
        400,
        100,
        0,
        "(#100) Param biz_opaque_callback_data must be at most 512",
    ),
    "nobody": (
        {"message": {name: value for name, value in text().items() if name != "to"}},
        400,
        131008,
        0,
        "(#131008)",
    ),
    "to is words": ({"message": text(to="Ann")}, 400, 131009, 0, "(#131009) Parameter value is not valid"),
    "to is short": ({"message": text(to="+123")}, 400, 131009, 0, "(#131009)"),
    "to oneself": ({"message": text(to="+15550783001")}, 400, 131021, 0, "(#131021) Recipient cannot be sender"),
    "both id and link": (
        {
            "message": {
                "messaging_product": "whatsapp",
                "to": CUSTOMER,
                "type": "image",
                "image": {"id": "1", "link": "https://x"},
            }
        },
        400,
        131009,
        0,
        "(#131009)",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_meta_refuses_is_refused(quiet_env: SandboxEnv, name: str) -> None:
    call, status, code, subcode, words = REFUSALS[name]
    if "token" in call and not call["token"].isascii():
        call = {**call, "token": call["token"].encode().decode("latin-1")}
    answer = quiet_env.send(**call)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error.get("error_subcode", 0)) == (status, code, subcode), error
    assert error["message"].startswith(words)
    assert ("error_data" in error) == (code > 130000 or "details" in str(error)), error
    _ERROR.validate(answer.json())
    assert quiet_env.ledger("accepted") == []


def test_a_token_may_stand_in_the_address(env: SandboxEnv) -> None:
    assert env.send(text(), token="", params={"access_token": "access-token-of-the-tests"}).status_code == 200
    assert env.send(text(), token="", params={"access_token": "x"}).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "code", "subcode"),
    [
        ("GET", "/graph/v23.0/100000000000001/messages", 2500, None),
        ("POST", "/graph/v23.0/100000000000001/no_such_edge", 2500, None),
        ("POST", "/graph/v23.0/123/messages", 100, 33),
        ("DELETE", "/graph/v23.0/wamid.X", 100, 33),
        ("GET", "/graph/v23.0/1/2/3", 100, 33),
        ("GET", "/graph/nonsense", 100, 33),
    ],
)
def test_unknown_paths_answer_as_meta(
    quiet_env: SandboxEnv, method: str, path: str, code: int, subcode: int | None
) -> None:
    answer = quiet_env.http.request(
        method, quiet_env.base + path, headers={"Authorization": "Bearer access-token-of-the-tests"}, timeout=5
    )
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["error"].get("error_subcode")) == (
        400,
        code,
        subcode,
    )
    if subcode:
        assert answer.json()["error"]["message"].startswith(f"Unsupported {method.lower()} request")
    assert quiet_env.http.request(method, quiet_env.base + path, timeout=5).status_code in {400, 401}


def test_360dialog_takes_the_same_message(env: SandboxEnv) -> None:
    answer = env.send_d360(text("Hello", biz_opaque_callback_data="gw1:8"))
    assert answer.status_code == 200
    assert answer.json()["contacts"] == [{"input": CUSTOMER, "wa_id": "15550100200"}]
    (accepted,) = env.ledger("accepted")
    assert (accepted["channel"], accepted["phone_number_id"], accepted["callback"]) == ("d360", D360_ID, "gw1:8")


def test_360dialog_refuses_in_its_own_words_and_in_metas(env: SandboxEnv) -> None:
    for key in ("", "wrong", "access-token-of-the-tests"):
        answer = env.send_d360(text(), key)
        assert answer.status_code == 401
        assert answer.json() == {"meta": {"developer_message": "Invalid api key", "http_code": 401, "success": False}}
    too_long = env.send_d360(text("x" * 4097))
    assert (too_long.status_code, too_long.json()["error"]["code"]) == (400, 100)
    assert env.send_d360([]).json()["error"]["code"] == 100
    unknown = env.http.get(f"{env.base}/d360/v1/nothing", headers={"D360-API-KEY": "d360-key-of-the-tests"}, timeout=5)
    assert (unknown.status_code, unknown.json()["meta"]["http_code"]) == (404, 404)
    assert env.ledger("accepted") == []
