"""Deliveries: signed, in order, at least once, whatever is killed; and each subscriber for itself."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from hooks.schedule import DOWN_AFTER
from hooks.signature import keys_of, signature
from hooks.subscriber import OPEN_MOST, PAGE
from tests.hooks.env import SECRET, Delivery, HooksEnv
from tests.store.env import StoreEnv
from tests.support.database import query
from tests.support.waiting import eventually

CHATS = [f"1555010{number:04}" for number in range(5)]


def in_order(texts: list[str], chats: list[str], count: int) -> None:
    """Each chat's messages came first in the order in which they were written."""
    for chat in chats:
        first: list[str] = []
        for text in texts:
            if text.startswith(chat) and text not in first:
                first.append(text)
        assert first == [f"{chat} {number}" for number in range(count)], chat


def test_an_event_is_posted_signed_and_logged(hooks: HooksEnv) -> None:
    good = hooks.receiver()
    hook = hooks.subscribe(good.url, headers={"Authorization": "Bearer of-the-test"})
    hooks.start().receive((CHATS[0], "hello"))
    eventually(lambda: bool(good.got), 20.0, "the delivery")
    (delivery,) = good.got
    assert delivery.event["type"] == "message.received"
    assert delivery.id == delivery.event["id"]
    assert delivery.headers["authorization"] == "Bearer of-the-test"
    timestamp = int(delivery.headers["webhook-timestamp"])
    assert abs(timestamp - time.time()) < 60
    assert delivery.headers["webhook-signature"] == signature(keys_of([SECRET]), delivery.id, timestamp, delivery.body)
    eventually(lambda: hooks.attempts(hook) == [("taken", "")], 10.0, "the log")
    assert hooks.waiting(hook) == []
    assert hooks.entry.stop() == 0
    assert hooks.hook(hook)["incarnation"] == "", "given back at the end"


def test_what_is_not_taken_waits_with_all_behind_it_and_no_other_chat_waits(hooks: HooksEnv) -> None:
    down = threading.Event()
    down.set()

    def answer(delivery: Delivery, _: BaseHTTPRequestHandler) -> int:
        return 500 if down.is_set() and delivery.text == f"{CHATS[0]} 0" else 200

    receiver = hooks.receiver(answer)
    hook = hooks.subscribe(receiver.url)
    hooks.start().receive(*[(chat, str(number)) for number in range(3) for chat in CHATS[:2]])
    eventually(lambda: f"{CHATS[1]} 2" in receiver.texts(), 20.0, "the other chat")
    eventually(lambda: len(hooks.waiting(hook)) == 3, 10.0, "one failed, two behind it")
    assert [row["attempts"] for row in hooks.waiting(hook)] == [1, 0, 0]
    hooks.receive((CHATS[0], "3"), (CHATS[1], "3"))
    eventually(lambda: len(hooks.waiting(hook)) == 4, 10.0, "what comes later waits too")
    down.clear()
    eventually(lambda: not hooks.waiting(hook), 30.0, "everything is taken")
    in_order(receiver.texts(), CHATS[:2], 4)
    ids = {delivery.id for delivery in receiver.got if delivery.text == f"{CHATS[0]} 0"}
    assert len(ids) == 1, "every attempt has the same id"


def test_a_chat_whose_delivery_takes_long_lets_others_go_on(hooks: HooksEnv) -> None:
    """By more than a page; the position stays before what is under way, so that a death loses nothing of it."""
    may_end = threading.Event()
    each = 2 * PAGE // 4 - 1

    def answer(delivery: Delivery, _: BaseHTTPRequestHandler) -> int:
        if delivery.text == f"{CHATS[0]} 0":
            may_end.wait(60)
        return 200

    receiver = hooks.receiver(answer)
    hook = hooks.subscribe(receiver.url)
    before = hooks.hook(hook)["event_id"]
    hooks.receive((CHATS[0], "0"))
    hooks.receive(*[(chat, str(number)) for number in range(each) for chat in CHATS[1:]])
    hooks.start()
    try:
        eventually(lambda: len(receiver.got) == 1 + 4 * each, 10.0, lambda: f"all the others: {len(receiver.got)}")
        assert hooks.hook(hook)["event_id"] == before
        assert hooks.attempts(hook) == []
    finally:
        may_end.set()
    eventually(lambda: len(hooks.attempts(hook)) == 1 + 4 * each, 10.0, "the log of all")
    in_order(receiver.texts(), CHATS[1:], each)


def test_many_that_wait_are_delivered_in_order(hooks: HooksEnv) -> None:
    """Once the first of a chat is taken the others follow, many in a round; one that fails ends the round."""
    again = threading.Event()
    refused: set[str] = set()
    taken: list[str] = []

    def answer(delivery: Delivery, _: BaseHTTPRequestHandler) -> int:
        if not again.is_set():
            return 500
        if delivery.text.endswith(" 7") and delivery.text not in refused:
            refused.add(delivery.text)
            return 503
        taken.append(delivery.text)
        return 200

    receiver = hooks.receiver(answer)
    hook = hooks.subscribe(receiver.url)
    hooks.receive(*[(chat, str(number)) for number in range(400) for chat in CHATS[:3]])
    hooks.start()
    eventually(lambda: len(hooks.waiting(hook)) >= OPEN_MOST, 30.0, "as many wait as may")
    again.set()
    eventually(lambda: len(set(taken)) == 1200, 60.0, lambda: f"all: {len(set(taken))}")
    assert len(refused) == 3
    # what was refused does not count: what lies behind it must not be taken before it
    in_order(taken, CHATS[:3], 400)


def test_a_chat_whose_retry_takes_long_lets_others_go_on(hooks: HooksEnv) -> None:
    """Also those of which more waits than is delivered in one go."""
    again, may_end = threading.Event(), threading.Event()

    def answer(delivery: Delivery, _: BaseHTTPRequestHandler) -> int:
        if not again.is_set():
            return 500
        if delivery.text == f"{CHATS[0]} 0":
            may_end.wait(60)
        return 200

    receiver = hooks.receiver(answer)
    hook = hooks.subscribe(receiver.url)
    hooks.receive((CHATS[0], "0"), *[(CHATS[1], str(number)) for number in range(25)])
    hooks.start()
    eventually(lambda: len(hooks.waiting(hook)) == 26, 20.0, "all wait")
    again.set()
    try:
        eventually(lambda: len(hooks.waiting(hook)) == 1, 20.0, lambda: f"all the others: {len(hooks.waiting(hook))}")
    finally:
        may_end.set()
    eventually(lambda: not hooks.waiting(hook), 20.0, "that one too")
    in_order(receiver.texts(), CHATS[1:2], 25)


def test_when_a_subscriber_takes_events_again_nothing_waits_for_its_hour(hooks: HooksEnv) -> None:
    down = threading.Event()
    down.set()
    receiver = hooks.receiver(lambda _delivery, _handler: 500 if down.is_set() else 200)
    hook = hooks.subscribe(receiver.url)
    chats = [f"1555020{number:04}" for number in range(DOWN_AFTER + 2)]
    hooks.receive(*[(chat, "0") for chat in chats])
    hooks.start()
    eventually(lambda: len(hooks.waiting(hook)) == len(chats), 20.0, "nothing is taken")
    query(
        hooks.store.url,
        "UPDATE hook_retries SET next_at = now() + interval '1 hour' WHERE conversation <> "
        "(SELECT conversation FROM hook_retries WHERE attempts > 0 ORDER BY next_at LIMIT 1)",
    )
    down.clear()
    eventually(lambda: not hooks.waiting(hook), 20.0, lambda: f"all at once: {len(hooks.waiting(hook))} wait")


def test_what_waits_and_is_replayed_is_delivered_as_what_waits(hooks: HooksEnv) -> None:
    """Kept a second time, it would count twice: its chat would wait for an event that does not exist."""
    down = threading.Event()
    down.set()
    receiver = hooks.receiver(lambda delivery, _: 500 if down.is_set() and delivery.text.startswith(CHATS[0]) else 200)
    hook = hooks.subscribe(receiver.url)
    begin = hooks.hook(hook)
    hooks.receive((CHATS[0], "0"), (CHATS[0], "1"), (CHATS[1], "0"))
    hooks.start()
    eventually(lambda: len(hooks.waiting(hook)) == 2, 20.0, "both wait")
    # not before their next attempt, whenever that would be
    query(hooks.store.url, "UPDATE hook_retries SET next_at = now() + interval '1 hour'")
    kept, reached = hooks.waiting(hook), hooks.hook(hook)
    query(
        hooks.store.url,
        "UPDATE hooks SET xid = %(xid)s, event_id = 0, version = version + 1 WHERE id = %(id)s",
        xid=begin["xid"],
        id=hook,
    )

    def is_read_again() -> bool:
        now = hooks.hook(hook)
        return (now["xid"], now["event_id"]) >= (reached["xid"], reached["event_id"])

    eventually(lambda: receiver.texts().count(f"{CHATS[1]} 0") == 2, 20.0, "what was taken comes once more")
    eventually(is_read_again, 20.0, "the position")
    assert hooks.waiting(hook) == kept
    down.clear()
    query(hooks.store.url, "UPDATE hooks SET version = version + 1 WHERE id = %(id)s", id=hook)
    query(hooks.store.url, "UPDATE hook_retries SET next_at = now()")
    eventually(lambda: not hooks.waiting(hook), 20.0, "everything is taken")
    assert receiver.texts()[-2:] == [f"{CHATS[0]} 0", f"{CHATS[0]} 1"]


@pytest.mark.parametrize("answered", [True, False])
def test_a_kill_loses_nothing_and_keeps_the_order(hooks: HooksEnv, answered: bool) -> None:
    """Killed in the middle of a page, before and after the receiver has answered."""
    deaths = iter((7, 23, 41))
    at = [next(deaths)]

    def answer(_: Delivery, handler: BaseHTTPRequestHandler) -> int | None:
        if len(receiver.got) != at[0]:
            return 200
        if answered:
            handler.send_response(200)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        at[0] = next(deaths, -1)
        hooks.kill()
        return None

    receiver = hooks.receiver(answer)
    hook = hooks.subscribe(receiver.url)
    hooks.receive(*[(chat, str(number)) for number in range(10) for chat in CHATS])
    hooks.start()
    for _ in range(3):
        eventually(lambda: hooks.entry.process.poll() is not None, 30.0, "its death")
        hooks.restart()
    eventually(lambda: len(set(receiver.texts())) == 50, 40.0, lambda: f"all: {len(set(receiver.texts()))}")
    eventually(lambda: not hooks.waiting(hook), 20.0, "nothing waits")
    in_order(receiver.texts(), CHATS, 10)
    by_text: dict[str, set[str]] = {}
    for delivery in receiver.got:
        by_text.setdefault(delivery.text, set()).add(delivery.id)
    assert all(len(ids) == 1 for ids in by_text.values()), "the same id each time"


def test_bad_subscribers_do_not_touch_a_good_one(hooks: HooksEnv) -> None:
    ended = threading.Event()

    def cut(_: Delivery, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        handler.close_connection = True

    def huge(_: Delivery, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        handler.close_connection = True
        for _number in range(1000):
            handler.wfile.write(b"x" * 100_000)

    def drip(_: Delivery, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        for letter in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 1000:
            if ended.wait(0.5):
                return
            handler.wfile.write(bytes([letter]))

    liars = {name: hooks.receiver(answer) for name, answer in {"cut": cut, "huge": huge, "drip": drip}.items()}
    marks = {name: hooks.subscribe(receiver.url) for name, receiver in liars.items()}
    dead = hooks.subscribe("http://127.0.0.1:9/nobody")
    good = hooks.receiver()
    hooks.subscribe(good.url)
    hooks.start()
    for number in range(20):
        hooks.receive(*[(chat, str(number)) for chat in CHATS])
    eventually(lambda: len(good.got) == 100, 30.0, lambda: f"the good one has all: {len(good.got)}")
    in_order(good.texts(), CHATS, 20)
    assert good.got[-1].headers
    eventually(lambda: len(set(liars["cut"].texts())) == 100, 30.0, "a status of 200 counts, however its body ends")
    eventually(lambda: ("failed", "timeout") in hooks.attempts(marks["drip"]), 40.0, "a dripping answer ends by time")
    eventually(lambda: ("failed", "unreachable") in hooks.attempts(dead), 10.0, "nobody is there")
    eventually(lambda: ("taken", "") in hooks.attempts(marks["huge"]), 20.0, "a huge body is not read")
    assert len(hooks.waiting(dead)) <= 100 + 20, "the rest waits in the stream"
    ended.set()


@pytest.mark.parametrize(
    ("status", "state", "reason"), [(410, "disabled", "gone"), (302, "active", ""), (404, "active", "")]
)
def test_statuses(hooks: HooksEnv, status: int, state: str, reason: str) -> None:
    elsewhere = hooks.receiver()

    def answer(_: Delivery, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", elsewhere.url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    receiver = hooks.receiver(answer)
    hook = hooks.subscribe(receiver.url)
    hooks.start().receive((CHATS[0], "0"))
    eventually(lambda: hooks.attempts(hook) == [("failed", f"http_{status}")], 20.0, "it is a failure")
    eventually(lambda: hooks.hook(hook)["state"] == state, 10.0, state)
    assert hooks.hook(hook)["state_reason"] == reason
    assert elsewhere.got == [], "redirects are not followed"
    found = query(hooks.store.url, "SELECT detail FROM events WHERE type = 'hook.disabled'")
    assert [row["detail"] for row in found] == ([reason] if reason else [])


def test_a_subscriber_that_is_gone_gets_nothing_more_whatever_is_under_way(hooks: HooksEnv) -> None:
    may_end = threading.Event()

    def answer(delivery: Delivery, _: BaseHTTPRequestHandler) -> int:
        if delivery.text == f"{CHATS[0]} 0":
            may_end.wait(60)
            return 200
        return 410

    hook = hooks.subscribe(hooks.receiver(answer).url)
    hooks.receive((CHATS[0], "0"))
    hooks.receive((CHATS[1], "0"))
    hooks.start()
    try:
        eventually(lambda: hooks.hook(hook)["state"] == "disabled", 10.0, "disabled")
        assert hooks.attempts(hook) == [("failed", "http_410")]
    finally:
        may_end.set()


def test_private_addresses_are_refused_where_it_is_connected(home: Path, env: StoreEnv) -> None:
    hooks = HooksEnv(home, env, hooks_private="off", graph_base_url="https://graph.facebook.com")
    try:
        receiver = hooks.receiver()
        named = hooks.subscribe(receiver.url.replace("127.0.0.1", "localhost"))
        literal = hooks.subscribe(receiver.url)
        hooks.start().receive((CHATS[0], "0"))
        for hook in (named, literal):
            eventually(lambda: bool(hooks.attempts(hook)), 20.0, "an attempt")  # noqa: B023 - asked in this turn
            assert hooks.attempts(hook)[0][0] == "failed"
        assert ("failed", "address_refused") in hooks.attempts(literal)
        assert receiver.got == []
    finally:
        hooks.close()


def test_a_subscriber_that_takes_nothing_for_days_is_disabled(home: Path, env: StoreEnv) -> None:
    hooks = HooksEnv(home, env, hooks_disable_days=0.01)
    try:
        hook = hooks.subscribe(hooks.receiver(lambda _delivery, _handler: 503).url)
        query(env.url, "UPDATE hooks SET failing_since = now() - interval '1 hour'")
        hooks.start().receive((CHATS[0], "0"))
        eventually(lambda: hooks.hook(hook)["state"] == "disabled", 20.0, "it is disabled")
        assert hooks.hook(hook)["state_reason"] == "failing"
        assert len(hooks.waiting(hook)) == 1, "what waits is kept for its return"
    finally:
        hooks.close()


def test_after_a_day_an_event_is_a_dead_letter_and_its_chat_goes_on(hooks: HooksEnv) -> None:
    receiver = hooks.receiver(lambda delivery, _: 500 if delivery.text.endswith(" 0") else 200)
    hook = hooks.subscribe(receiver.url)
    hooks.receive((CHATS[0], "0"), (CHATS[0], "1"))
    hooks.start()
    eventually(lambda: len(hooks.waiting(hook)) == 2, 20.0, "both wait")
    query(
        hooks.store.url,
        "UPDATE hook_retries SET first_at = now() - interval '25 hours', next_at = now() WHERE attempts > 0",
    )
    eventually(lambda: f"{CHATS[0]} 1" in receiver.texts(), 20.0, "the next one is delivered")
    eventually(lambda: [row["state"] for row in hooks.waiting(hook)] == ["dead"], 10.0, "the first is dead")
    assert hooks.attempts(hook)[-2][0] == "dead"


def test_a_webhook_of_the_installation_gets_alerts_and_no_message(hooks: HooksEnv) -> None:
    receiver, of_a_company = hooks.receiver(), hooks.receiver()
    hook = hooks.subscribe(receiver.url, types=())
    hooks.subscribe(of_a_company.url, types=())
    query(hooks.store.url, "UPDATE hooks SET company_id = NULL WHERE id = %(id)s", id=hook)
    hooks.start().receive((CHATS[0], "hello"))
    query(
        hooks.store.url,
        "INSERT INTO events (subject, type, state, code, detail, data) VALUES ('alert', 'alert.fired', 'on', "
        """'ProcessDown', 'meta-0 is down', '{"alertId": 1, "labels": {"slot": "meta-0"}, "severity": "critical"}')""",
    )
    eventually(lambda: bool(receiver.got) and bool(of_a_company.got), 20.0, "both have something")
    (delivery,) = receiver.got
    assert (delivery.event["type"], delivery.event["companyId"]) == ("alert.fired", None)
    assert delivery.event["data"]["name"] == "ProcessDown"
    assert {one.event["companyId"] for one in of_a_company.got} == {"acme"}
    eventually(lambda: hooks.attempts(hook) == [("taken", "")], 10.0, "the log")
