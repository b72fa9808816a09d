"""kill -9 of one child after the other: the others answer throughout, the killed one is back, and a message accepted
meanwhile arrives once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest

from embedded import addresses
from tests.conftest import kept_running
from tests.e2e.conversation import arrived_texts, link, send, wait_session, wait_state
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import eventually

KINDS = ("recorder", "sandbox", "redis", "postgres")
"""The other kinds are killed under load: tests/chaos/test_scenarios.py."""
ROUNDS = 3


@pytest.fixture(scope="module")
def installation(prepared_home: Callable[[], Path]) -> Iterator[Bulkhead]:
    with kept_running(prepared_home, Bulkhead) as opened:
        yield opened


@pytest.mark.timeout(400)
def test_kill_9_of_one_child_after_the_other(installation: Bulkhead) -> None:
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


def test_meta_does_not_notice_that_the_browser_process_dies_again_and_again(installation: Bulkhead) -> None:
    before = installation.pids()
    for number in range(ROUNDS):
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
    assert arrived == {f"round {number}": 1 for number in range(ROUNDS)}


CUSTOMER = "15550100277"
META_NUMBER = "100000000000001"


def wait_received(installation: Bulkhead, text: str, within_s: float = 20.0) -> None:
    """Wait until the API shows a message of the customer."""

    def received() -> bool:
        found = installation.api("GET", f"/api/v2/messages/demo?q={quote(text)}")
        return found.status_code == 200 and text in found.text

    eventually(received, within_s, lambda: f"{text} is received\n{installation.tail()}", ignoring=(OSError,))


def test_each_kind_receives_while_the_other_is_killed(installation: Bulkhead) -> None:
    linked(installation)
    meta_before, browser_before = (
        {slot: pid for slot, pid in installation.pids().items() if slot.startswith(kind)}
        for kind in ("meta", "webdriver")
    )
    # as soon as it is dead: nothing of the kind runs while the other one receives
    killed = installation.kill("webdriver")
    eventually(lambda: killed not in installation.alive(), 10.0, "the browser's process is gone")
    written = {"phone_number_id": META_NUMBER, "from": f"+{CUSTOMER}", "text": "to Meta while the browser was away"}
    assert installation.sandbox("POST", "/control/inbound", json=written).status_code == 200
    wait_received(installation, written["text"])
    eventually(partial(is_replaced, installation, "webdriver-0", killed), 60.0, installation.tail)
    wait_session(installation, "ready")
    assert {slot: pid for slot, pid in installation.pids().items() if slot.startswith("meta")} == meta_before
    browser_before = {"webdriver-0": installation.pids()["webdriver-0"]}

    dead = {f"meta-{number}": installation.kill("meta", instance=number) for number in (0, 1)}
    eventually(lambda: not set(dead.values()) & set(installation.alive()), 10.0, "Meta's processes are gone")
    sent = {"from": CUSTOMER, "body": "to the browser while Meta was away"}
    device = installation.sandbox("GET", "/control/web/devices").json()["devices"][0]["device"]
    answer = installation.sandbox("POST", f"/control/web/devices/{device}/messages", json=sent)
    assert answer.status_code == 200, answer.text
    wait_received(installation, sent["body"])
    for slot, pid in dead.items():
        eventually(partial(is_replaced, installation, slot, pid), 30.0, installation.tail)
    installation.wait_ready()
    assert {"webdriver-0": installation.pids()["webdriver-0"]} == browser_before, "it did not notice"


def test_a_browser_process_that_loses_the_database_keeps_its_sessions_and_recovers_alone(
    installation: Bulkhead,
) -> None:
    linked(installation)
    before = installation.pids()
    cutting, cut = threading.Event(), list[int]()
    cutter = threading.Thread(target=cut_database, args=(installation, "webdriver-0", cutting, cut))
    cutter.start()
    try:
        lost = send(installation, "by the browser, without its database", phone_index=1)
        shown = wait_state(installation, send(installation, "by Meta meanwhile"), "delivered", "read", within_s=10.0)
        assert shown["attempt"] == 1, "the others have their connections"
    finally:
        cutting.set()
        cutter.join()
    assert sum(cut) > 1, "it had connections, and made others that were ended too"
    wait_state(installation, lost, "delivered", "read", within_s=45.0)
    wait_session(installation, "ready")
    assert installation.pids() == before, "no process was restarted for it"
    assert arrived_texts(installation)["by the browser, without its database"] == 1


def linked(installation: Bulkhead) -> None:
    """Link the session, unless an earlier test has done so."""

    def settled() -> str:
        state = str(installation.api("GET", "/api/v2/sessions/demo/1").json().get("state"))
        return state if state in ("needs_link", "ready") else ""

    if eventually(settled, 60.0, installation.tail, ignoring=(OSError,)) != "ready":
        link(installation)


def cut_database(installation: Bulkhead, slot: str, until: threading.Event, cut: list[int]) -> None:
    """End each connection of a slot to PostgreSQL as soon as it is there, and append how many."""
    statement = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE %s"
    with closing(psycopg2.connect(addresses.database_url(installation.settings))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not until.wait(0.02):
                cursor.execute(statement, [f"bulkhead/{slot}/%"])
                cut += [row[0] for row in cursor.fetchall()]
