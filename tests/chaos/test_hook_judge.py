"""The judge of webhooks: a run that went well is clean, and one that was doctored is not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace

import aiohttp
import pytest

from chaos.hook_judge import TEST, FeedEvent, Received, judge_hooks
from chaos.receivers import MANNERS, HookReceiver, _signature

CHATS = ("0 100", "0 200")
FEED = [
    FeedEvent(
        id=f"{10 + number}-{number}",
        number=number,
        type="message.sent" if number % 4 < 2 else "message.delivered",
        conversation=CHATS[number % 2],
        message_id=number % 2 + 1,
    )
    for number in range(1, 9)
] + [FeedEvent(id="30-20", number=20, type=TEST, hook_id="7")]
GOOD = Received(
    name="good",
    company="demo",
    hook_id="7",
    after="0-0",
    log=[-1, 2, 4, 1, 3, 5, 6, 7, 8, 20],
    ids={event.number: event.id for event in FEED},
)
READ_TO = {"demo": "120-0", "other": "120-0"}
STRANGER = FeedEvent(id="99-99", number=99, type="message.sent", conversation=CHATS[0], message_id=9)


def faults(one: Received, *, feed: list[FeedEvent] = FEED, arrived: tuple[int, ...] = (1, 2)) -> dict[str, list[str]]:
    found = judge_hooks([one], {"demo": feed, "other": [STRANGER]}, {"demo": arrived}, read_to=READ_TO)
    assert found.is_clean is not any(found.faults.values())
    return {name: list(broken) for name, broken in found.faults.items() if broken}


def test_events_that_came_in_order_are_clean_also_repeated_and_late_ones() -> None:
    assert faults(GOOD) == {}
    assert faults(replace(GOOD, log=[-1, -2, *GOOD.log[1:]])) == {}


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ([2, 4, 1, 3, 5, 6, 7, 20], {"undelivered": ["good 18-8"]}),
        ([-1, 2, 4, 3, 1, 5, 6, 7, 8, 20], {"disordered": ["good 13-3"]}),
        # it was not taken yet when the next one came
        ([-1, 2, 4, -3, 1, 3, 5, 6, 7, 8, 20], {"disordered": ["good 13-3"]}),
        ([*GOOD.log, 99], {"foreign": ["good 99"]}),
    ],
)
def test_what_is_missing_too_early_or_foreign_is_noticed(log: list[int], expected: dict[str, list[str]]) -> None:
    assert faults(replace(GOOD, log=log)) == expected


def test_a_body_that_never_came_is_missing() -> None:
    assert faults(replace(GOOD, unread=frozenset({5}))) == {"undelivered": ["good 15-5"]}


def test_a_test_is_for_one_alone() -> None:
    assert faults(replace(GOOD, hook_id="8")) == {"foreign": ["good 30-20"]}
    assert faults(replace(GOOD, log=GOOD.log[:-1])) == {"undelivered": ["good 30-20"]}


def test_what_came_after_the_feed_was_read_is_not_judged() -> None:
    late = replace(GOOD, log=[*GOOD.log, 99], ids={**GOOD.ids, 99: "121-99"})
    assert faults(late) == {}
    assert faults(replace(late, ids={**late.ids, 99: "119-99"})) == {"foreign": ["good 119-99"]}


def test_an_id_that_is_not_in_the_feed_is_foreign() -> None:
    assert faults(replace(GOOD, ids={**GOOD.ids, 5: "77-5"})) == {"foreign": ["good 77-5"]}


def test_a_feed_without_an_event_does_not_hide_it() -> None:
    feed = [event for event in FEED if event.message_id != 2]
    log = [number for number in GOOD.log if abs(number) in {event.number for event in feed}]
    assert faults(replace(GOOD, log=log), feed=feed) == {"unannounced": ["good message 2"]}


def test_a_subscription_begins_at_its_position_and_chooses_types() -> None:
    later = replace(GOOD, after="14-4", log=[number for number in GOOD.log if abs(number) > 4])
    assert faults(later) == {}
    chosen = replace(GOOD, types=frozenset({"message.delivered"}), log=[2, 3, 6, 7, 20])
    assert faults(chosen) == {}


SECRETS = ["whsec_" + letter * 43 + "=" for letter in "AB"]


def posted(change: Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]], company: str = "demo") -> Received:
    """Return what a receiver noted of one delivery, after a change."""

    async def post() -> Received:
        receiver = HookReceiver("good", "demo", MANNERS["good"], 1)
        receiver.secrets += SECRETS
        await receiver.listen()
        try:
            body = json.dumps({"id": "11-1", "type": "message.sent", "companyId": company, "data": {}}).encode()
            at = str(int(time.time()))
            signed = f"11-1.{at}.".encode() + body
            headers, body = change(
                {
                    "webhook-id": "11-1",
                    "webhook-timestamp": at,
                    "webhook-signature": " ".join(_signature(secret, signed) for secret in SECRETS),
                },
                body,
            )
            async with aiohttp.ClientSession() as session, session.post(receiver.url, data=body, headers=headers):
                pass
            assert receiver.is_signed_twice(1) or receiver.received().wrong
            return receiver.received()
        finally:
            await receiver.deafen()

    return asyncio.run(post())


def test_a_delivery_is_checked() -> None:
    assert posted(lambda headers, body: (headers, body)).wrong == {}
    assert posted(lambda headers, body: (headers, body), company="other").wrong
    assert posted(lambda headers, body: (headers, body + b" ")).wrong, "signed for another body"
    assert posted(lambda headers, body: (headers | {"webhook-timestamp": "1"}, body)).wrong
    assert posted(lambda headers, body: (headers | {"webhook-id": "11-2"}, body)).wrong
