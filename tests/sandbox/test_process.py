"""The sandbox as a process: what it refuses to start without, how fast it is there, and what kill -9 leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from shared.clock import monotonic
from shared.process.exit_codes import ExitCode
from shared.settings import Settings, to_environ
from tests.sandbox.env import ACCESS_TOKEN, APP_SECRET, D360_KEY, D360_SECRET, VERIFY_TOKEN, Client, Receiver, text
from tests.support.entry import Entry
from tests.support.waiting import deadline_s, eventually, joined

SECRETS = {
    "meta_app_secret": APP_SECRET,
    "meta_verify_token": VERIFY_TOKEN,
    "sandbox_access_token": ACCESS_TOKEN,
    "sandbox_d360_api_key": D360_KEY,
    "sandbox_d360_webhook_secret": D360_SECRET,
}


@pytest.fixture
def configured(settings: Callable[..., Settings], receiver: Receiver) -> Settings:
    """Settings of a sandbox whose webhooks go to `receiver`."""
    return settings(meta_port=urlsplit(receiver.url).port, **SECRETS)


def _entry(home: Path, settings: Settings) -> Entry:
    variables: dict[str, Any] = {
        name.lower(): value for name, value in to_environ(settings).items() if name != "BULKHEAD_HOME"
    }
    return Entry("sandbox", home, **variables)


@pytest.fixture
def entry(home: Path, configured: Settings) -> Iterator[Entry]:
    """The sandbox's entry file, not started."""
    with _entry(home, configured) as made:
        yield made


@pytest.fixture
def client(configured: Settings) -> Iterator[Client]:
    """A client of the entry's public port."""
    made = Client(f"http://127.0.0.1:{configured.port('sandbox')}")
    yield made
    made.close()


@pytest.mark.parametrize("secret", SECRETS)
def test_without_a_secret_it_does_not_start(home: Path, configured: Settings, secret: str) -> None:
    without: dict[str, Any] = {secret: ""}
    with _entry(home, replace(configured, **without)) as entry:
        assert entry.start().wait_exit() == ExitCode.CONFIGURATION
        assert f"{secret.upper()} is empty" in entry.log.read_text()


def test_it_starts_with_little_work_and_leaves_in_order(entry: Entry, client: Client, receiver: Receiver) -> None:
    entry.start().wait_ready()
    # processor time: what a busy machine adds to the clock is not ours
    used = psutil.Process(entry.process.pid).cpu_times()
    assert used.user + used.system < 1.0
    assert client.send(text(biz_opaque_callback_data="one")).status_code == 200
    assert client.send_d360(text(biz_opaque_callback_data="two")).status_code == 200
    receiver.wait(lambda: len(receiver.statuses()) == 4)
    health = client.http.get(f"{client.base}/health", timeout=5).json()
    assert (health["process"], health["ledgerSeq"] > 0) == ("sandbox", True)
    assert client.http.get(f"{client.base}/web/", timeout=5).status_code == 200
    client.arm("hang")
    cut: list[requests.ConnectionError] = []

    def send() -> None:
        try:
            client.send(text())
        except requests.ConnectionError as error:
            cut.append(error)

    held = threading.Thread(target=send)
    held.start()
    onlooker = Client(client.base)
    assert onlooker.ledger("refused", wait_s=5)
    onlooker.close()
    stopped = monotonic()
    assert entry.stop() == ExitCode.OK
    assert monotonic() - stopped < deadline_s(3)
    joined(held, 5)
    assert len(cut) == 1


def test_kill_9_loses_no_answered_message_and_no_webhook(entry: Entry, client: Client, receiver: Receiver) -> None:
    answered: set[str] = set()
    sent = 0
    for _life in range(3):
        entry.start().wait_ready()
        stop = threading.Event()

        def load(worker: int, first: int = sent, stop: threading.Event = stop) -> None:
            with requests.Session() as http:
                for number in range(10_000):
                    name = f"{first}:{worker}:{number}"
                    try:
                        answer = http.post(
                            f"{client.base}/graph/v23.0/100000000000001/messages",
                            json=text(biz_opaque_callback_data=name),
                            headers={"Authorization": f"Bearer {ACCESS_TOKEN}"},
                            timeout=5,
                        )
                    except requests.RequestException:
                        return
                    assert answer.status_code == 200
                    answered.add(name)
                    if stop.is_set():
                        return

        workers = [threading.Thread(target=load, args=(worker,)) for worker in range(4)]
        target = len(answered) + 150
        for worker in workers:
            worker.start()
        eventually(lambda target=target: len(answered) >= target, 20)  # type: ignore[misc] # bound now, not later
        entry.process.kill()
        stop.set()
        for worker in workers:
            joined(worker, 10)
        entry.wait_exit()
        sent += 10_000
    entry.start().wait_ready()
    arrived = client.control("GET", "arrivals")["arrivals"]
    assert answered <= arrived.keys()
    assert set(arrived.values()) == {1}
    expected = {(name, status) for name in arrived for status in ("sent", "delivered")}
    receiver.wait(lambda: expected <= set(receiver.statuses()), 20)
    eventually(lambda: client.control("GET", "summary")["webhooks_pending"] == 0, 10)
    entries = client.control("GET", "ledger", limit=10_000)["entries"]
    assert [row["seq"] for row in entries] == list(range(1, len(entries) + 1))
    assert entry.stop() == ExitCode.OK
