"""The public port, over HTTP, in the real process: who is believed, what is refused, and that 200 means stored."""

from __future__ import annotations

import hmac
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import requests

from meta.inbound.signatures import is_signed, is_weakly_signed
from meta.inbound.webhooks import BODY_MOST, META_PATHS
from shared.kinds import kind_named
from shared.process.exit_codes import ExitCode
from shared.store import connections
from tests.meta.env import ACCOUNTS, MetaEnv
from tests.meta.seed import D360, signature, text, webhook
from tests.sandbox.env import APP_SECRET, D360_SECRET, VERIFY_TOKEN
from tests.support.ports import free_ports
from tests.support.waiting import deadline_s, eventually

GUARD = "X-Bulkhead-Webhook-Secret"
D360_PATH = f"/webhooks/360dialog/demo/{D360}"


def journalled(env: MetaEnv) -> int:
    return int(env.query("SELECT count(*) FROM inbound_journal")[0][0])


@pytest.mark.parametrize("path", META_PATHS)
def test_verification_answers_with_the_bare_challenge(env: MetaEnv, path: str) -> None:
    answer = env.get(path, **{"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": VERIFY_TOKEN})
    assert (answer.status_code, answer.text) == (200, "1158201444")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "query",
    [
        {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": "wrong"},
        {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": ""},
        {"hub.mode": "subscribe", "hub.challenge": "1"},
        {"hub.mode": "unsubscribe", "hub.challenge": "1", "hub.verify_token": VERIFY_TOKEN},
        {"hub.challenge": "1", "hub.verify_token": VERIFY_TOKEN},
        {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN},
        {
            "hub.mode": "subscribe",
            "hub.challenge": "1",
            "hub.verify_token": "ß\udcff".encode("utf-8", "replace").decode(),
        },
        {},
    ],
)
def test_verification_refuses_everything_else(env: MetaEnv, query: dict[str, str]) -> None:
    answer = env.get(META_PATHS[0], **query)
    assert (answer.status_code, answer.text) == (403, "")


def test_the_sandbox_verifies_it_as_meta_does(env: MetaEnv) -> None:
    assert env.control("POST", "verify", {})["verified"] is True
    assert env.control("POST", "verify", {"verify_token": "wrong"})["verified"] is False


BODY = json.dumps(webhook({"messages": [text("Grüße", "wamid.SIGNED")]})).encode()
RIGHT = signature(BODY)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Hub-Signature-256": RIGHT},
        {"x-hub-signature-256": RIGHT},
        {"X-HUB-SIGNATURE-256": "sha256=" + RIGHT[7:].upper()},
    ],
)
def test_the_right_signature_is_believed_in_any_case_of_letters(env: MetaEnv, headers: dict[str, str]) -> None:
    before = journalled(env)
    assert env.post(BODY, headers=headers) == 200
    assert journalled(env) == before + 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": "sha256="},
        {"X-Hub-Signature-256": RIGHT[7:]},
        {"X-Hub-Signature-256": RIGHT[:-1]},
        {"X-Hub-Signature-256": RIGHT + "00"},
        {"X-Hub-Signature-256": "SHA256=" + RIGHT[7:]},
        {"X-Hub-Signature-256": "sha256=" + "z" * 64},
        {"X-Hub-Signature-256": "sha256=" + " " * 64},
        {"X-Hub-Signature-256": signature(BODY, "another secret")},
        {"X-Hub-Signature-256": signature(BODY, "")},
        {"X-Hub-Signature-256": signature(BODY + b" ")},
        {"X-Hub-Signature": "sha1=" + "0" * 40},
        {GUARD: D360_SECRET},
    ],
)
def test_everything_else_is_refused_counted_and_not_stored(env: MetaEnv, headers: dict[str, str]) -> None:
    before, counted = journalled(env), env.metric('meta_signature_failures_total{door="meta"}')
    assert env.post(BODY, headers=headers) == 401
    assert journalled(env) == before
    assert env.metric('meta_signature_failures_total{door="meta"}') == counted + 1


@pytest.mark.parametrize(("path", "fields"), [(META_PATHS[0], ""), (D360_PATH, ""), (D360_PATH, f"{GUARD}: wrong\r\n")])
def test_without_a_signature_or_the_right_secret_no_body_is_read(env: MetaEnv, path: str, fields: str) -> None:
    with socket.create_connection(("127.0.0.1", env.settings.port("meta")), timeout=5) as line:
        line.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n{fields}\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("index", ["9" * 5000, "9" * 18, "9" * 10, "0" * 100])
def test_an_index_of_any_length_is_refused(env: MetaEnv, index: str) -> None:
    path = f"/webhooks/360dialog/demo/{index}"
    assert env.post(BODY, path=path, headers={GUARD: D360_SECRET}) in (401, 404)


@pytest.mark.parametrize("company", ["%00", "%ff", "x" * 5000])
def test_a_company_of_any_form_is_refused(env: MetaEnv, company: str) -> None:
    path = f"/webhooks/360dialog/{company}/2"
    assert env.post(BODY, path=path, headers={GUARD: D360_SECRET}) in (401, 404)


@pytest.mark.parametrize("fields", ["Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"])
def test_an_upgrade_that_is_asked_for_does_not_cost_the_body(env: MetaEnv, fields: str) -> None:
    before = journalled(env)
    head = f"POST {META_PATHS[0]} HTTP/1.1\r\nHost: x\r\n{fields}X-Hub-Signature-256: {RIGHT}\r\n"
    with socket.create_connection(("127.0.0.1", env.settings.port("meta")), timeout=5) as line:
        line.sendall(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        assert line.recv(100).startswith(b"HTTP/1.1 200 ")
    assert journalled(env) == before + 1


def test_an_altered_body_is_refused(env: MetaEnv) -> None:
    assert env.post(BODY.replace(b"SIGNED", b"FORGED"), headers={"X-Hub-Signature-256": RIGHT}) == 401
    assert env.post(BODY[:-1], headers={"X-Hub-Signature-256": RIGHT}) == 401


def test_an_empty_secret_signs_nothing() -> None:
    assert is_signed(signature(BODY), BODY, APP_SECRET.encode())
    assert not is_signed(signature(BODY, ""), BODY, b"")


PAGE = json.dumps({"object": "page", "entry": []}).encode()


def sha1(body: bytes) -> dict[str, str]:
    return {"X-Hub-Signature": "sha1=" + hmac.digest(APP_SECRET.encode(), body, "sha1").hex()}


def test_sha1_alone_is_not_enough_unless_it_is_allowed_and_then_for_pages_only(
    env: MetaEnv, own_env: Callable[..., MetaEnv]
) -> None:
    assert env.post(PAGE, headers=sha1(PAGE)) == 401
    lenient = own_env(meta_sha1_signatures="on").start()
    assert lenient.post(PAGE, headers=sha1(PAGE), path="/webhooks/messenger") == 200
    assert lenient.post(BODY, headers=sha1(BODY)) == 401
    assert lenient.post(PAGE + b" ", headers=sha1(PAGE)) == 401
    # a wrong strong signature is not healed by a right weak one
    assert lenient.post(PAGE, headers=sha1(PAGE) | {"X-Hub-Signature-256": "sha256=" + "0" * 64}) == 401
    assert journalled(lenient) == 1


def test_an_empty_secret_signs_nothing_weakly_either() -> None:
    assert is_weakly_signed({"x-hub-signature": sha1(PAGE)["X-Hub-Signature"]}, PAGE, APP_SECRET.encode())
    assert not is_weakly_signed({"x-hub-signature": "sha1=" + hmac.digest(b"", PAGE, "sha1").hex()}, PAGE, b"")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b'{"object":NaN}', b"\xff\xfe", b'{"a":1}x', b'{"a":"\n"}', b"[1,2", b'"\x00"']
)
def test_what_is_no_json_is_refused(env: MetaEnv, body: bytes) -> None:
    before = journalled(env)
    assert env.post(body) == 400
    assert journalled(env) == before


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b'{"object":"page","entry":[{"messaging":[]}]}',
        b'{"object":"instagram"}',
        b'{"object":"something_new","entry":5}',
        b'{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"brand_new","value":{"x":1}}]}]}',
        b"[" * 100_000 + b"]" * 100_000,
    ],
    ids=lambda body: body[:40],
)
def test_whatever_else_is_json_is_stored_and_answered(env: MetaEnv, body: bytes) -> None:
    before = journalled(env)
    assert env.post(body) == 200
    assert journalled(env) == before + 1
    env.wait_journal_read()


def test_three_megabytes_are_taken_and_one_byte_more_is_not(env: MetaEnv) -> None:
    filled = json.dumps({"object": "page", "filler": ""}).encode()
    most = filled.replace(b'""', b'"' + b"x" * (BODY_MOST - len(filled)) + b'"')
    assert len(most) == BODY_MOST
    before = journalled(env)
    assert env.post(most) == 200
    assert env.post(most.replace(b'"x', b'"xx', 1)) == 413
    assert env.post(b"x" * (BODY_MOST * 5), headers={"X-Hub-Signature-256": "sha256="}) == 413
    assert journalled(env) == before + 1
    assert env.post(BODY) == 200
    env.wait_journal_read()
    env.query("UPDATE inbound_journal SET body = '' WHERE length(body) > 1000000 RETURNING id")


def test_a_sender_that_disconnects_leaves_nothing(env: MetaEnv) -> None:
    before = journalled(env)
    with socket.create_connection(("127.0.0.1", env.settings.port("meta"))) as line:
        line.sendall(
            "POST /api/meta/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: "
            f"{len(BODY)}\r\nX-Hub-Signature-256: {RIGHT}\r\n\r\n".encode()
            + BODY[:-5]
        )
    eventually(lambda: env.metric('meta_webhook_posts_total{door="meta",answer="disconnected"}'), 5, "it is counted")
    assert journalled(env) == before
    assert env.get("/livez").status_code == 200


def test_posts_that_arrive_together_are_each_stored(env: MetaEnv) -> None:
    before, most = journalled(env), 200
    bodies = [
        json.dumps(webhook({"messages": [text("together", f"wamid.TOGETHER{number}")]})).encode()
        for number in range(most)
    ]
    start = threading.Barrier(20)

    def post(share: list[bytes]) -> list[int]:
        with requests.Session() as http:
            http.trust_env = False
            start.wait(deadline_s(10))
            url = f"http://127.0.0.1:{env.settings.port('meta')}/api/meta/webhook"
            return [
                http.post(url, data=body, headers={"X-Hub-Signature-256": signature(body)}, timeout=15).status_code
                for body in share
            ]

    with ThreadPoolExecutor(20) as senders:
        answers = [
            status for share in senders.map(post, [bodies[number::20] for number in range(20)]) for status in share
        ]
    assert answers == [200] * most
    assert journalled(env) == before + most
    env.wait_journal_read()
    assert env.query("SELECT count(*) FROM inbound_messages WHERE provider_id LIKE 'wamid.TOGETHER%%'") == [(most,)]


def d360_message(provider_id: str, number: str = ACCOUNTS[D360]) -> bytes:
    return json.dumps(webhook({"messages": [text("hi", provider_id)]}, number=number)).encode()


def test_360dialog_is_believed_by_its_own_secret_and_only_about_its_own_number(env: MetaEnv) -> None:
    assert env.post(d360_message("wamid.D1"), path=D360_PATH, headers={GUARD: D360_SECRET}) == 200
    # another customer's number through this door: stored, and concerns no connection
    assert env.post(d360_message("wamid.D2", ACCOUNTS[0]), path=D360_PATH, headers={GUARD: D360_SECRET}) == 200
    # and 360dialog's number by Meta's signature
    assert env.post(d360_message("wamid.D3")) == 200
    env.wait_journal_read()
    assert len(env.inbound("wamid.D1")) == 1
    assert env.inbound("wamid.D2") == env.inbound("wamid.D3") == []
    outcomes = [outcome for (outcome,) in env.query("SELECT outcome FROM inbound_journal ORDER BY id DESC LIMIT 2")]
    assert all("no connection has this phone number id" in outcome for outcome in outcomes)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (D360_PATH, {}),
        (D360_PATH, {GUARD: ""}),
        (D360_PATH, {GUARD: "wrong"}),
        (D360_PATH, {"X-Hub-Signature-256": signature(d360_message("wamid.D4"))}),
        ("/webhooks/360dialog/demo/0", {GUARD: ""}),
        ("/webhooks/360dialog/demo/0", {GUARD: D360_SECRET}),
        ("/webhooks/360dialog/demo/77", {GUARD: D360_SECRET}),
        ("/webhooks/360dialog/nobody/2", {GUARD: D360_SECRET}),
    ],
)
def test_360dialogs_door_refuses_everything_else(env: MetaEnv, path: str, headers: dict[str, str]) -> None:
    before = journalled(env)
    assert env.post(d360_message("wamid.D4"), path=path, headers=headers) == 401
    assert journalled(env) == before


def test_a_customers_message_comes_through_every_door(env: MetaEnv) -> None:
    sent = {}
    for index, number in ACCOUNTS.items():
        sent[index] = env.control(
            "POST", "inbound", {"phone_number_id": number, "from": "+15550109900", "text": f"to {index}", "name": "Ann"}
        )["id"]
    for index, provider_id in sent.items():
        eventually(partial(env.inbound, provider_id), 10, f"the message to {index} is kept")
        assert env.inbound(provider_id) == [("text", {"body": f"to {index}"}, False, "15550109900")]
        (touched,) = env.query(
            "SELECT last_event_at IS NOT NULL FROM phone_status WHERE connection_id = %s", env.ids[index]
        )
        assert touched == (True,)


def test_without_a_database_meta_is_asked_to_repeat(own_env: Callable[..., MetaEnv]) -> None:
    env = own_env()
    (nowhere,) = free_ports(1)
    cut_off = env._entry("meta")
    cut_off._variables |= {
        "database_url": f"postgresql://nobody@127.0.0.1:{nowhere}/nothing",
        "database_connect_s": 0.5,
    }
    try:
        cut_off.start()
        cut_off.wait_ready()
        answer = env.http.post(
            f"http://127.0.0.1:{env.settings.port('meta')}/api/meta/webhook",
            data=BODY,
            headers={"X-Hub-Signature-256": RIGHT},
            timeout=15,
        )
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "1")
        assert env.post(BODY, headers={}) == 401
        assert env.get("/livez").status_code == 200
        assert env.get("/readyz").status_code == 503
        assert cut_off.stop() == ExitCode.OK
    finally:
        cut_off.close()


def test_it_does_not_start_without_the_key_of_stored_credentials(own_env: Callable[..., MetaEnv]) -> None:
    entry = own_env()._entry("meta")
    entry._variables |= {"secret_encryption_key": ""}
    try:
        entry.start()
        assert entry.wait_exit() == ExitCode.CONFIGURATION
        assert "SECRET_ENCRYPTION_KEY" in entry.log.read_text()
    finally:
        entry.close()


def test_health_says_what_operators_ask_for(env: MetaEnv) -> None:
    facts: dict[str, Any] = env.get("/health").json()
    assert facts["process"] == kind_named("meta").name
    assert {"messagesSent", "messagesReceived", "apiErrors", "avgResponseTime", "journalLagSeconds"} <= facts.keys()

    # other tests of this env add connections that stay
    def counts_usable() -> bool:
        ((usable,),) = env.query("SELECT count(*) FROM phone_configs WHERE status = 'active' AND credentials <> ''")
        return bool(env.get("/health").json()["botsActive"] == usable >= len(ACCOUNTS) - paused)

    paused = 0
    eventually(counts_usable, 15, "every usable connection is counted")
    assert env.store.run(connections.pause, env.ids[D360], "for a test")
    paused = 1
    try:
        eventually(counts_usable, 15, "a paused connection is not counted")
    finally:
        assert env.store.run(connections.resume, env.ids[D360])
