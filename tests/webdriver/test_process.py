"""The whole process over real PostgreSQL and Redis: a message through the page, kill -9 in the middle of many, nothing
lost, nothing twice."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from shared.process.exit_codes import ExitCode
from shared.process.runtime import slot_lock_file
from shared.process.slot_lock import read_holder
from shared.store import messages
from tests.support.database import connected
from tests.support.entry import Entry
from tests.support.waiting import eventually, patience_s
from tests.webdriver.env import Web, chromiums
from tests.webdriver.store_env import StoreEnv

PHONE = "60111222333"


def health(port: int) -> dict[str, Any]:
    with urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        return dict(json.load(answer))


def test_messages_survive_kill_9_in_the_middle_and_no_browser_outlives_it(
    home: Path, web: Web, store_env: StoreEnv, redis_url: str, free_ports: Callable[[int], list[int]]
) -> None:
    port, admin = free_ports(2)
    addresses: dict[str, Any] = {
        "database_url": store_env.database_url,
        "redis_url": redis_url,
        "whatsapp_web_url": web.url,
    }
    with Entry("webdriver", home, webdriver_port=port, process_admin_port=admin, **addresses) as webdriver:
        webdriver.start().wait_ready()
        eventually(
            lambda: store_env.observed()["observed"] == "needs_link" and store_env.observed()["qr"],
            30,
            lambda: f"{store_env.observed()}\n{webdriver.log.read_text()}",
        )
        web.ask("/control/web/scan", {"code": store_env.observed()["qr"], "phone": PHONE})
        eventually(lambda: store_env.observed()["observed"] == "ready", 20, lambda: str(store_env.observed()))
        assert store_env.observed()["proved_at"] is not None

        (first,) = store_env.accept(["60123456789"], "hello")
        eventually(lambda: store_env.row(first)["state"] == "read", 10, lambda: str(store_env.row(first)))
        (arrival,) = web.arrived()
        assert store_env.row(first)["provider_id"] == arrival.fields["message_id"]
        facts = health(port)
        assert facts["sessionStates"] == {"ready": 1}
        assert facts["sessions"][0]["connectionId"] == store_env.connection_id

        # many messages, each slow enough that the kill comes between "asked" and "answered"
        web.order(PHONE, "faults", {"hold_after_s": 0.1})
        chats = [f"601200000{number:02d}" for number in range(40)]
        many = store_env.accept(chats, "many")
        eventually(lambda: len(web.arrived()) > 8, 20)
        dead = read_holder(slot_lock_file(home, "webdriver-0"))
        assert dead is not None
        webdriver.process.kill()
        webdriver.wait_exit(5)
        eventually(lambda: not chromiums(home), 3, "no browser outlives its owner")
        store_env.store.run(messages.reclaim, incarnation=dead.incarnation)
        states = Counter(store_env.row(one)["state"] for one in many)
        assert states["in_doubt"] >= 1, states

        web.order(PHONE, "faults", {"hold_after_s": 0})
        web.order(PHONE, "messages", {"from": "60123456789", "body": "while it was dead"})
        started_at = time.monotonic()
        webdriver.start().wait_ready()
        eventually(lambda: store_env.observed()["observed"] == "ready", 20, lambda: str(store_env.observed()))
        assert time.monotonic() - started_at < patience_s(10), "a linked session is back within ten seconds"
        eventually(
            lambda: all(store_env.row(one)["state"] in ("sent", "delivered", "read") for one in many),
            40,
            lambda: str([store_env.row(one) for one in many]),
        )
        arrived = Counter(entry.fields["body"] for entry in web.arrived())
        assert arrived == Counter({"hello 0": 1} | {f"many {number}": 1 for number in range(40)})
        eventually(lambda: inbound_bodies(store_env.database_url) == ["while it was dead"], 10)
        assert webdriver.stop() == ExitCode.OK
        assert chromiums(home) == []
        assert store_env.observed()["observed"] == "absent"


def inbound_bodies(database_url: str) -> list[str]:
    """Return the texts of all inbound messages."""
    with connected(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT content ->> 'body' FROM inbound_messages ORDER BY id")
        return [row[0] for row in cursor.fetchall()]
