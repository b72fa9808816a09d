"""Each way to hold the API wrong, by name: the status, the type, and the members of the answer."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from api.http import bodies
from api.http.keys import WrongKeys
from tests.api.api_env import CHAT, KEY, ApiEnv, problem

TEXT = f"/api/v2/messages/text/alpha/{CHAT}"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """One wrong request and its answer; `members` must stand in the problem, `headers_back` in the answer's headers."""

    method: str = "POST"
    path: str = TEXT
    body: bytes | str | None = None
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    status: int
    type: str
    members: dict[str, Any] = field(default_factory=dict)
    headers_back: dict[str, str] = field(default_factory=dict)


def body(**fields: Any) -> str:
    return json.dumps(fields)


def text(path: str, **fields: Any) -> dict[str, Any]:
    return {"path": f"/api/v2/messages/text/{path}", "body": body(message="Hello", **fields)}


def errors(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"errors": [{"pointer": pointer, "reason": reason} for pointer, reason in pairs]}


NOT_A_FIELD = (
    "is not a field of this operation; it takes message, preview, tag, quotedMessageId, "
    "phoneIndex, sendAt, inDoubtPolicy"
)
WRONG = {
    # where to
    "unknown company": Wrong(**text(f"nobody/{CHAT}"), status=404, type="company_unknown"),
    "impossible company": Wrong(**text(f"no%20body/{CHAT}"), status=404, type="company_unknown"),
    "unknown phone index": Wrong(**text(f"alpha/{CHAT}", phoneIndex=9), status=404, type="phone_index_unknown"),
    "company without connections": Wrong(**text(f"empty/{CHAT}"), status=404, type="phone_index_unknown"),
    "chat that is no chat": Wrong(
        **text("alpha/my-friend"), status=422, type="chat_invalid", members={"field": "chatId"}
    ),
    "chat with too few digits": Wrong(**text("alpha/12345"), status=422, type="chat_invalid"),
    "chat with a leading zero": Wrong(**text("alpha/0049301234567"), status=422, type="chat_invalid"),
    "chat with a NUL": Wrong(**text("alpha/1555%000100200"), status=422, type="chat_invalid"),
    "chat of blanks": Wrong(**text("alpha/%20"), status=422, type="chat_invalid"),
    "group on a Meta channel": Wrong(**text("alpha/120363041234567890@g.us"), status=422, type="chat_invalid"),
    "business-scoped user on a browser session": Wrong(
        **text("alpha/US.abc", phoneIndex=1), status=422, type="chat_invalid"
    ),
    # the text
    "empty text": Wrong(body=body(message=""), status=422, type="text_empty", members={"field": "message"}),
    "blank text": Wrong(body=body(message=" \n\t "), status=422, type="text_empty"),
    "5,000 characters to Meta": Wrong(
        body=body(message="x" * 5000),
        status=422,
        type="text_too_long",
        members={"field": "message", "limit": 4096, "length": 5000},
    ),
    "65,537 characters to a browser session": Wrong(
        body=body(message="x" * 65537, phoneIndex=1),
        status=422,
        type="text_too_long",
        members={"field": "message", "limit": 65536, "length": 65537},
    ),
    "NUL in the text": Wrong(
        body=body(message="a\0b"),
        status=422,
        type="body_invalid",
        members=errors(("/message", "must not hold the character NUL")),
    ),
    "half a surrogate pair": Wrong(body='{"message": "\\ud83d"}', status=422, type="body_invalid"),
    # the fields
    "no message": Wrong(body="{}", status=422, type="body_invalid", members=errors(("/message", "is missing"))),
    "message is a number": Wrong(
        body=body(message=5),
        status=422,
        type="body_invalid",
        members=errors(("/message", "must be a string, not an integer")),
    ),
    "message is null": Wrong(
        body=body(message=None),
        status=422,
        type="body_invalid",
        members=errors(("/message", "must be a string, not null")),
    ),
    "phone index is a word": Wrong(
        body=body(message="x", phoneIndex="0"),
        status=422,
        type="body_invalid",
        members=errors(("/phoneIndex", "must be an integer, not a string")),
    ),
    "phone index is true": Wrong(body=body(message="x", phoneIndex=True), status=422, type="body_invalid"),
    "phone index is a fraction": Wrong(body=body(message="x", phoneIndex=0.5), status=422, type="body_invalid"),
    "phone index is negative": Wrong(
        body=body(message="x", phoneIndex=-1),
        status=422,
        type="body_invalid",
        members=errors(("/phoneIndex", "must be from 0 to 9999")),
    ),
    "phone index is huge": Wrong(body=body(message="x", phoneIndex=10**40), status=422, type="body_invalid"),
    "quoted id is too long": Wrong(body=body(message="x", quotedMessageId="y" * 301), status=422, type="body_invalid"),
    "quoted message is unknown": Wrong(
        body=body(message="x", quotedMessageId="nothing"),
        status=422,
        type="quoted_message_unknown",
        members={"field": "quotedMessageId"},
    ),
    "unknown fields": Wrong(
        body=body(message="x", text="y", **{"a/b": 1}),
        status=422,
        type="body_invalid",
        members=errors(("/text", NOT_A_FIELD), ("/a~1b", NOT_A_FIELD)),
    ),
    "everything wrong at once": Wrong(
        body=body(messages="x", phoneIndex="0"),
        status=422,
        type="body_invalid",
        members=errors(
            ("/messages", NOT_A_FIELD), ("/message", "is missing"), ("/phoneIndex", "must be an integer, not a string")
        ),
    ),
    "body is a list": Wrong(
        body="[]", status=422, type="body_invalid", members=errors(("", "must be an object, not an array"))
    ),
    "body is null": Wrong(
        body="null", status=422, type="body_invalid", members=errors(("", "must be an object, not null"))
    ),
    # the bytes
    "bad JSON": Wrong(body='{"message": "x"', status=400, type="body_not_json"),
    "no body": Wrong(status=400, type="body_not_json"),
    "two JSON values": Wrong(body='{"message": "x"} {}', status=400, type="body_not_json"),
    "single quotes": Wrong(body="{'message': 'x'}", status=400, type="body_not_json"),
    "NaN": Wrong(body='{"message": NaN}', status=400, type="body_not_json"),
    "the same name twice": Wrong(body='{"message": "x", "message": "y"}', status=400, type="body_not_json"),
    "not UTF-8": Wrong(body=b'{"message": "\xff"}', status=400, type="body_not_json"),
    "UTF-16": Wrong(body='{"message": "x"}'.encode("utf-16"), status=400, type="body_not_json"),
    "nested without end": Wrong(body="[" * 100_000, status=400, type="body_not_json"),
    "number of a thousand digits": Wrong(body='{"phoneIndex": %s}' % ("9" * 5000), status=400, type="body_not_json"),
    "body too large": Wrong(
        body=b" " * (bodies.TEXT_BODY_LIMIT + 1),
        status=413,
        type="body_too_large",
        members={"limit": bodies.TEXT_BODY_LIMIT},
    ),
    # the headers
    "a form": Wrong(
        body="message=x",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        status=415,
        type="media_type_unsupported",
    ),
    "no media type": Wrong(body=b'{"message": "x"}', headers={}, status=415, type="media_type_unsupported"),
    "another charset": Wrong(
        body='{"message": "x"}',
        headers={"Content-Type": "application/json; charset=latin-1"},
        status=415,
        type="media_type_unsupported",
    ),
    "a compressed body": Wrong(
        body=b"\x1f\x8b", headers=JSON | {"Content-Encoding": "gzip"}, status=415, type="media_type_unsupported"
    ),
    "an empty idempotency key": Wrong(
        body=body(message="x"),
        headers=JSON | {"Idempotency-Key": ""},
        status=400,
        type="header_invalid",
        members={"header": "Idempotency-Key"},
    ),
    "an idempotency key with a blank": Wrong(
        body=body(message="x"), headers=JSON | {"Idempotency-Key": "a b"}, status=400, type="header_invalid"
    ),
    "an idempotency key that is too long": Wrong(
        body=body(message="x"), headers=JSON | {"Idempotency-Key": "k" * 256}, status=400, type="header_invalid"
    ),
    # the path
    "unknown path": Wrong(path="/api/v2/messages", status=404, type="path_unknown"),
    "a closing slash": Wrong(path=f"{TEXT}/", body=body(message="x"), status=404, type="path_unknown"),
    "a reaction without a message": Wrong(
        path=f"/api/v2/messages/reaction/alpha/{CHAT}",
        body=body(emoji="x"),
        status=422,
        type="body_invalid",
        members=errors(("/messageId", "is missing")),
    ),
    "a reaction to nothing": Wrong(
        path="/api/messages/react/alpha/999999999", body=body(), status=404, type="message_unknown"
    ),
    "a file of nobody": Wrong(
        method="GET", path=f"/api/v2/media/alpha/{'0' * 64}", headers={}, status=404, type="media_unknown"
    ),
    "an upload for nobody": Wrong(
        path="/api/v2/media/nobody", body=b"x", headers={}, status=404, type="company_unknown"
    ),
    "an upload of nothing": Wrong(path="/api/v2/media/alpha", body=b"", headers={}, status=422, type="body_invalid"),
    "an edit of nothing": Wrong(
        method="PUT",
        path=f"/api/v2/messages/alpha/{CHAT}/999999999",
        body=body(message="x"),
        status=404,
        type="message_unknown",
    ),
    "wrong method on the text": Wrong(
        method="GET", status=405, type="method_not_allowed", headers_back={"Allow": "POST"}
    ),
    "wrong method on a message": Wrong(
        path=f"/api/v2/messages/alpha/{CHAT}/1",
        status=405,
        type="method_not_allowed",
        headers_back={"Allow": "DELETE, GET, HEAD, PUT"},
    ),
    "wrong method on what every process answers": Wrong(
        path="/health", status=405, type="method_not_allowed", headers_back={"Allow": "GET, HEAD"}
    ),
    # reading
    "unknown message": Wrong(
        method="GET", path=f"/api/v2/messages/alpha/{CHAT}/999999999", status=404, type="message_unknown"
    ),
    "message id that is none": Wrong(
        method="GET", path=f"/api/v2/messages/alpha/{CHAT}/abc", status=404, type="message_unknown"
    ),
    "message id beyond all numbers": Wrong(
        method="GET", path=f"/api/v2/messages/alpha/{CHAT}/{'9' * 30}", status=404, type="message_unknown"
    ),
    "message of an unknown company": Wrong(
        method="GET", path=f"/api/v2/messages/nobody/{CHAT}/1", status=404, type="company_unknown"
    ),
    "chat of an unknown company": Wrong(
        method="GET", path=f"/api/v2/messages/nobody/{CHAT}", status=404, type="company_unknown"
    ),
    "page of nothing": Wrong(
        method="GET",
        path=f"/api/v2/messages/alpha/{CHAT}?limit=0",
        status=400,
        type="query_invalid",
        members={"parameter": "limit"},
    ),
    "page of everything": Wrong(
        method="GET", path=f"/api/v2/messages/alpha/{CHAT}?limit=201", status=400, type="query_invalid"
    ),
    "a cursor of one's own": Wrong(
        method="GET",
        path=f"/api/v2/messages/alpha/{CHAT}?cursor=MjAyNg",
        status=400,
        type="query_invalid",
        members={"parameter": "cursor"},
    ),
    "connections of an unknown company": Wrong(
        method="GET", path="/api/v2/connections/nobody", status=404, type="company_unknown"
    ),
    "session of an unknown company": Wrong(
        method="GET", path="/api/v2/sessions/nobody/1", status=404, type="company_unknown"
    ),
    "session with an unknown index": Wrong(
        method="GET", path="/api/v2/sessions/alpha/9", status=404, type="phone_index_unknown"
    ),
    "session with a word for an index": Wrong(
        method="GET", path="/api/v2/sessions/alpha/one", status=404, type="phone_index_unknown"
    ),
    "session of a Meta number": Wrong(
        method="GET",
        path="/api/v2/sessions/alpha/0",
        status=422,
        type="unsupported_operation",
        members={"operation": "session", "reason": "channel"},
    ),
    "session that should be something else": Wrong(
        path="/api/v2/sessions/alpha/1", body=body(desired="happy"), status=422, type="body_invalid"
    ),
    "picture of an unknown kind": Wrong(
        method="GET", path="/api/v2/sessions/alpha/1/qr?format=gif", status=400, type="query_invalid"
    ),
    "figures of an unknown process": Wrong(method="GET", path="/metrics/nothing", status=404, type="process_unknown"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_it_is_refused_with_a_reason(api_env: ApiEnv, wrong: Wrong) -> None:
    before = api_env.sql("SELECT count(*) AS rows FROM messages")
    answer = api_env.call(wrong.method, wrong.path, data=wrong.body, headers=wrong.headers)
    assert answer.status_code == wrong.status, answer.text
    shown = problem(answer)
    assert shown["type"] == wrong.type
    assert wrong.members.items() <= shown.items()
    assert {name: answer.headers.get(name) for name in wrong.headers_back} == wrong.headers_back
    assert api_env.sql("SELECT count(*) AS rows FROM messages") == before, "nothing was accepted"


OPEN = (
    "/health",
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/dashboard",
    "/dashboard/app.js",
    "/dashboard/base.css",
)
KEYS: dict[str, tuple[dict[str, str], str]] = {
    "no key": ({}, "key_missing"),
    "an empty key": ({"Authorization": "Bearer "}, "key_missing"),
    "another scheme": ({"Authorization": "Basic dGVzdA=="}, "key_missing"),
    "a wrong key": ({"Authorization": "Bearer wrong"}, "key_invalid"),
    "a wrong X-API-Key": ({"X-API-Key": "wrong"}, "key_invalid"),
    "the key and something": ({"Authorization": f"Bearer {KEY}x"}, "key_invalid"),
    "half of the key": ({"X-API-Key": KEY[:-1]}, "key_invalid"),
    "one right and one wrong key": ({"Authorization": f"Bearer {KEY}", "X-API-Key": "wrong"}, "key_invalid"),
    "a key of strange letters": ({"X-API-Key": "schlüssel"}, "key_invalid"),
}


@pytest.mark.parametrize(("headers", "name"), KEYS.values(), ids=KEYS.keys())
def test_without_the_right_key_nothing_is_answered(api_env: ApiEnv, headers: dict[str, str], name: str) -> None:
    answer = api_env.call(
        "POST",
        TEXT,
        key=None,
        json={"message": "x"},
        headers={name: value.encode("latin-1") for name, value in headers.items()},
    )
    assert answer.status_code == 401
    assert problem(answer)["type"] == name
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="bulkhead"')
    assert ('error="invalid_token"' in answer.headers["WWW-Authenticate"]) == (name == "key_invalid")


def test_every_guarded_operation_asks_for_the_key(api_env: ApiEnv) -> None:
    paths = api_env.call("GET", "/openapi.json", key=None).json()["paths"]
    guarded = [
        (method.upper(), path)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if operation["security"]
    ]
    assert len(guarded) > 30
    for method, path in guarded:
        place = re.sub(r"\{\w+\}", "1", path)
        assert problem(api_env.call(method, place, key=None))["type"] == "key_missing", f"{method} {path}"
        wrong = api_env.call_from_a_new_address(method, place, headers={"X-API-Key": "wrong"})
        assert problem(wrong)["type"] == "key_invalid", f"{method} {path}"


def test_either_header_shows_the_key(api_env: ApiEnv) -> None:
    assert api_env.call("GET", "/api/v2/connections/alpha", key=None, headers={"X-API-Key": KEY}).status_code == 200
    assert (
        api_env.call(
            "GET", "/api/v2/connections/alpha", key=None, headers={"Authorization": f"bearer {KEY}", "X-API-Key": KEY}
        ).status_code
        == 200
    )


@pytest.mark.parametrize("path", OPEN)
def test_what_is_open_needs_no_key(api_env: ApiEnv, path: str) -> None:
    assert api_env.call("GET", path, key=None).status_code == 200


def test_a_request_keeps_the_id_that_it_brings_and_a_bad_one_is_replaced(api_env: ApiEnv) -> None:
    assert (
        api_env.call("GET", "/nothing", headers={"X-Request-Id": "trace-1.a_b"}).headers["X-Request-Id"]
        == "trace-1.a_b"
    )
    for bad in ("", "x" * 129, "a b", 'a"b', "a{b}"):
        assert api_env.call("GET", "/nothing", headers={"X-Request-Id": bad}).headers["X-Request-Id"] not in ("", bad)


def test_a_body_that_is_streamed_beyond_the_limit_is_refused(api_env: ApiEnv) -> None:
    pieces = [b" " * 65536] * (bodies.TEXT_BODY_LIMIT // 65536) + [b" "]
    answer = api_env.call("POST", TEXT, data=iter(pieces), headers=dict(JSON))
    assert problem(answer)["type"] == "body_too_large"
    assert answer.headers["Connection"] == "close"


def test_a_body_that_never_comes_is_given_up(api_env: ApiEnv) -> None:
    place = urlsplit(api_env.url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=bodies.BODY_WAIT_S + 5) as line:
        line.sendall(
            f"POST {TEXT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: "
            f"application/json\r\nContent-Length: 20\r\n\r\n{{".encode()
        )
        said = b"".join(iter(lambda: line.recv(65536), b""))
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"urn:bulkhead:problem:body_late" in said


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", f"/api/v2/messages/alpha/{CHAT}/1?whom=me"),
        ("GET", f"/api/v2/messages/alpha/{CHAT}?Limit=1"),
        ("GET", "/api/v2/connections/alpha?force=true"),
        ("DELETE", "/api/v2/connections/alpha/9?Force=true"),
        ("POST", f"/api/v2/messages/text/alpha/{CHAT}?wait=5"),
        ("GET", "/api/v2/dead-letters/alpha?status=failed"),
    ],
)
def test_query_parameters_that_the_operation_does_not_take_are_refused(api_env: ApiEnv, method: str, path: str) -> None:
    refused = problem(api_env.call(method, path, json={"message": "x"} if method == "POST" else None))
    assert (refused["type"], refused["status"]) == ("query_invalid", 400)
    assert refused["parameter"] == path.partition("?")[2].partition("=")[0]


def test_guesses_of_the_key_are_slowed_by_address() -> None:
    now = 1000.0
    guesses = WrongKeys(lambda: now)
    delays = [guesses.delay_s("192.0.2.1") for _ in range(20)]
    assert delays[:10] == [0.0] * 10
    assert delays[10] == 0.1
    assert delays[-1] == 5.0
    assert guesses.delay_s("192.0.2.2") == 0.0, "another address"
    now += 61
    assert guesses.delay_s("192.0.2.1") == 0.0, "forgotten"
