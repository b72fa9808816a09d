"""kill -9 of each child in turn: the others answer throughout, the killed one is back, and a message accepted meanwhile
arrives once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import kept_running
from tests.e2e.conversation import arrived_texts, link, send, wait_session, wait_state
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import eventually

KINDS = ("api", "meta", "webdriver", "recorder", "sandbox", "redis", "postgres")


@pytest.fixture(scope="module")
def installation(prepared_home: Callable[[], Path]) -> Iterator[Bulkhead]:
    with kept_running(prepared_home, Bulkhead) as opened:
        yield opened


@pytest.mark.timeout(400)
def test_kill_9_of_each_child_in_turn(installation: Bulkhead) -> None:
    link(installation)
    for kind in KINDS:
        killed_and_back(installation, kind)


def killed_and_back(installation: Bulkhead, kind: str) -> None:
    """Kill a child, send through every connection at once, and see that it is back, alone, with nothing lost or
    doubled."""
    before = installation.pids()
    killed = installation.kill(kind)
    # until the kernel has closed its connections, a request on one of them may have been read: the message would be in
    # doubt, and rightly wait for a human, since nothing else proves anything about this number
    eventually(lambda: killed not in installation.alive(), 10.0, f"the killed {kind} is gone")
    sent = {}
    for index in range(4):
        text = f"while {kind} was away, {index}"
        # the API itself may be the killed one, or the database that it needs: then the client asks again, as clients do
        sent[text] = eventually(
            partial(try_send, installation, text, index), 20.0, f"{text} is accepted", ignoring=(OSError,)
        )
    eventually(
        partial(is_replaced, installation, f"{kind}-0", killed), 20.0, lambda: f"{kind} is back\n{installation.tail()}"
    )
    installation.wait_ready()
    if kind == "webdriver":
        wait_session(installation, "ready")
    for text, message_id in sent.items():
        wait_state(installation, message_id, "delivered", "read", within_s=45.0)
        assert arrived_texts(installation)[text] == 1, text
    assert installation.pids() == before | {f"{kind}-0": installation.pids()[f"{kind}-0"]}, f"only {kind} was replaced"


def is_replaced(installation: Bulkhead, slot: str, killed: int) -> bool:
    """Whether another process than the killed one holds the slot."""
    return installation.pids().get(slot) not in (None, killed)


def try_send(installation: Bulkhead, text: str, index: int) -> str:
    """Send with a key, so that asking again cannot send twice; empty when the API cannot accept now."""
    answer = installation.api(
        "POST",
        "/api/v2/messages/text/demo/15550100200",
        json={"message": text, "phoneIndex": index},
        headers={"Idempotency-Key": text.replace(" ", "-")},
    )
    if answer.status_code == 503:
        assert answer.headers["Retry-After"]
        return ""
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


@pytest.mark.timeout(240)
def test_meta_does_not_notice_that_the_browser_process_dies_again_and_again(installation: Bulkhead) -> None:
    before = installation.pids()
    for number in range(5):
        killed = installation.kill("webdriver")
        shown = wait_state(installation, send(installation, f"round {number}"), "delivered", "read", within_s=10.0)
        assert shown["attempt"] == 1
        eventually(
            partial(is_replaced, installation, "webdriver-0", killed),
            60.0,
            lambda: f"webdriver is back\n{installation.tail()}",
        )
    after = installation.pids()
    assert {slot: pid for slot, pid in after.items() if slot != "webdriver-0"} == {
        slot: pid for slot, pid in before.items() if slot != "webdriver-0"
    }
    arrived = {text: times for text, times in arrived_texts(installation).items() if text.startswith("round")}
    assert arrived == {f"round {number}": 1 for number in range(5)}
